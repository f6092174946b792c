//! A machine's USB port: sticks are plugged in and pulled out while it runs, through QEMU's monitor (QMP).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::vm::{Machine, Vm};

/// The monitor of a running machine with an xHCI controller.
#[derive(Debug)]
pub struct Port {
    lines: BufReader<UnixStream>,
    stream: UnixStream,
    plugged: u32,
}

/// A stick that is plugged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plugged(u32);

impl Port {
    /// Powers on a machine with a USB port, and the sticks `images` in it from the start.
    pub fn start(machine: &Machine, images: &[&Path]) -> Result<(Vm, Self)> {
        let socket: PathBuf = machine.disk.with_extension("qmp");
        let _ = std::fs::remove_file(&socket);
        let mut arguments: Vec<String> = vec![
            "-device".into(),
            "qemu-xhci,id=xhci".into(),
            "-qmp".into(),
            format!("unix:{},server=on,wait=off", socket.display()),
        ];
        for (number, image) in images.iter().enumerate() {
            arguments.extend([
                "-blockdev".into(),
                format!(
                    "driver=raw,node-name=node{number},file.driver=file,file.filename={}",
                    image.display()
                ),
                "-device".into(),
                format!("usb-storage,bus=xhci.0,id=stick{number},drive=node{number},removable=on"),
            ]);
        }
        let vm = Vm::start_with(machine, &arguments)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                // QEMU makes the socket shortly after its start; nothing announces it.
                Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                Err(error) => bail!("connecting to QEMU's monitor {}: {error}", socket.display()),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let lines = BufReader::new(stream.try_clone()?);
        let mut port = Self { lines, stream, plugged: u32::try_from(images.len())? };
        port.line()?; // the greeting
        port.command("qmp_capabilities", &json!({}))?;
        Ok((vm, port))
    }

    /// The stick that [`Port::start`] plugged in as its `number`th.
    #[must_use]
    pub fn from_start(number: u32) -> Plugged {
        Plugged(number)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line).context("reading QEMU's monitor")? > 0, "QEMU has ended");
        serde_json::from_str(&line).with_context(|| format!("QEMU's monitor said {line}"))
    }

    fn command(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        let text = json!({ "execute": name, "arguments": arguments });
        writeln!(self.stream, "{text}").context("writing to QEMU's monitor")?;
        loop {
            let answer = self.line()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {text}: {error}");
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    /// Plugs a stick in.
    pub fn plug(&mut self, image: &Path) -> Result<Plugged> {
        let number = self.plugged;
        self.plugged += 1;
        self.command(
            "blockdev-add",
            &json!({ "driver": "raw", "node-name": format!("node{number}"),
                     "file": { "driver": "file", "filename": image } }),
        )?;
        self.command(
            "device_add",
            &json!({ "driver": "usb-storage", "bus": "xhci.0", "id": format!("stick{number}"),
                     "drive": format!("node{number}"), "removable": true }),
        )?;
        Ok(Plugged(number))
    }

    /// Pulls it out, without asking the guest. Returns when QEMU has let go of the image.
    pub fn pull(&mut self, Plugged(number): Plugged) -> Result<()> {
        let id = format!("stick{number}");
        self.command("device_del", &json!({ "id": id }))?;
        // For USB the device is gone when the command returns; its drive lives until the last request has ended.
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.command("blockdev-del", &json!({ "node-name": format!("node{number}") }))
        {
            ensure!(Instant::now() < deadline, "letting go of {id}: {error}");
        }
        Ok(())
    }
}
