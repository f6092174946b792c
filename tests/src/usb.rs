//! A machine's USB port: plugs sticks in and pulls them out while the machine runs.
//!
//! `stick` makes the sticks, and `qmp` talks to QEMU's monitor. The guest is not asked.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::qmp::{Qmp, QmpListener};
use crate::vm::{Machine, Vm};

/// The USB port of a running machine.
#[derive(Debug)]
pub struct Port {
    qmp: Qmp,
    plugged: u32,
}

/// A stick that is plugged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plugged(u32);

impl Port {
    /// Powers on a machine with a USB port that holds the sticks `images` from the start.
    pub fn start(machine: &Machine, images: &[&Path]) -> Result<(Vm, Self)> {
        Self::start_with(machine, &machine.drive(), &[], images)
    }

    /// As [`Port::start`], with another `-drive` for the system disk, and with more of QEMU's
    /// options.
    pub fn start_with(
        machine: &Machine,
        drive: &str,
        more: &[String],
        images: &[&Path],
    ) -> Result<(Vm, Self)> {
        let listener = QmpListener::new(machine.disk.parent().context("a disk without a folder")?)?;
        let mut options = vec!["-device".to_owned(), "qemu-xhci,id=xhci".to_owned()];
        options.extend(listener.options.clone());
        options.extend(more.iter().cloned());
        for (number, image) in images.iter().enumerate() {
            options.extend([
                "-blockdev".into(),
                format!(
                    "driver=raw,node-name=node{number},file.driver=file,file.filename={}",
                    image.display()
                ),
                "-device".into(),
                format!("usb-storage,bus=xhci.0,id=stick{number},drive=node{number},removable=on"),
            ]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let vm = Vm::start_with(machine, drive, &options)?;
        Ok((vm, Self { qmp: listener.accept()?, plugged: u32::try_from(images.len())? }))
    }

    /// Returns the stick that [`Port::start`] plugged in as its `number`th.
    #[must_use]
    pub fn from_start(number: u32) -> Plugged {
        Plugged(number)
    }

    /// Plugs a stick in.
    pub fn plug(&mut self, image: &Path) -> Result<Plugged> {
        let number = self.plugged;
        self.plugged += 1;
        self.qmp.command(
            "blockdev-add",
            json!({ "driver": "raw", "node-name": format!("node{number}"),
                     "file": { "driver": "file", "filename": image } }),
        )?;
        self.qmp.command(
            "device_add",
            json!({ "driver": "usb-storage", "bus": "xhci.0", "id": format!("stick{number}"),
                     "drive": format!("node{number}"), "removable": true }),
        )?;
        Ok(Plugged(number))
    }

    /// Pulls a stick out without asking the guest. Returns when QEMU has closed the image.
    pub fn pull(&mut self, Plugged(number): Plugged) -> Result<()> {
        let id = format!("stick{number}");
        self.qmp.command("device_del", json!({ "id": id }))?;
        // A USB device is gone when the command returns. Its drive lives until the last request has
        // ended.
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) =
            self.qmp.command("blockdev-del", json!({ "node-name": format!("node{number}") }))
        {
            ensure!(Instant::now() < deadline, "letting go of {id}: {error}");
        }
        Ok(())
    }
}
