//! Machines that go on from a healthy state instead of booting.
//!
//! The tests choose the bundle. A boot takes 20 s to 60 s without KVM, and going on takes half a
//! second. So this file boots a machine once per bundle, and keeps its memory and its disk as a
//! snapshot in a qcow2. Only tests that begin in a healthy system use the snapshot. A test about a
//! boot must see that boot itself.
//!
//! Snapshots work only under BIOS: UEFI's variable store is a drive that cannot be in a snapshot.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::accel::Accel;
use crate::fixture::{Fixture, stem};
use crate::qmp::QmpListener;
use crate::vm::{Firmware, Machine, Size, Vm, data_disk, overlay_disk};

/// Size of the second disk of each such machine, in bytes. The guest has seen this size, and must
/// not see another one.
const DATA: u64 = 640 << 20;
/// Seconds that the kept boot may take.
const BOOT: u64 = 600;
const SNAPSHOT: &str = "healthy";

/// The state that a machine begins in.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// The recipe, as a path in the repo.
    pub recipe: &'a str,
    /// The version of the bundle in slot A.
    pub version: &'a str,
    /// The text that the shell prints when it waits for a line.
    pub prompt: &'a str,
    /// The amount of memory.
    pub size: Size,
}

impl Beginning<'_> {
    /// Returns a healthy machine in `dir` with `files` on its second disk (an ext4), and the same
    /// machine for later boots. `options` are more options of QEMU that add no device.
    ///
    /// # Errors
    /// The bundle cannot be built, or does not become healthy.
    pub fn resume(
        &self,
        fixture: &Fixture,
        dir: &Path,
        files: &[(&str, &Path)],
        options: &[&str],
    ) -> Result<(Machine, Vm)> {
        let bundle = fixture.bundle(self.recipe, self.version)?;
        let factory = fixture.disk(&bundle)?;
        let prefix = format!("healthy-{}-{}-", stem(self.recipe)?, self.version);
        let name = format!("{prefix}{}", self.key(&bundle)?);
        let kept = fixture.keep(&name, |kept| self.boot(&factory, kept))?;
        fixture.forget_older(&prefix, &name)?;
        let machine = self.machine(dir);
        fs::copy(kept.join("disk.qcow2"), &machine.disk)?;
        let data = machine.data.as_deref().context("a machine without its second disk")?;
        data_disk(data, files)?;
        ensure!(fs::metadata(data)?.len() <= DATA, "the second disk must be larger: {files:?}");
        File::options().write(true).open(data)?.set_len(DATA)?;
        let options = [options, &["-loadvm", SNAPSHOT]].concat();
        let mut vm = Vm::start_with(&machine, &machine.drive(), &options)?;
        // The kernel has read another second disk before, and time has passed since.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let forget = "echo 3 >/proc/sys/vm/drop_caches";
        vm.run(&format!("{forget}; date -s @{now} >/dev/null"), 60)?.success()?;
        Ok((machine, vm))
    }

    fn machine(&self, dir: &Path) -> Machine {
        Machine {
            disk: dir.join("disk.qcow2"),
            format: "qcow2",
            data: Some(dir.join("data.ext4")),
            firmware: Firmware::Bios,
            size: self.size,
            log: dir.join("serial.log"),
        }
    }

    /// Returns a hash of everything that a snapshot depends on.
    fn key(&self, bundle: &Path) -> Result<String> {
        let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
        let qemu = qemu.context("starting qemu-system-x86_64 (package qemu-system-x86)")?;
        let mut key = Sha256::new();
        // The name of the bundle's folder follows from its content.
        key.update(bundle.as_os_str().as_encoded_bytes());
        key.update(qemu.stdout);
        key.update(format!("{:?} {:?} {DATA}", Accel::of_this_machine()?.options(), self.size));
        Ok(key.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Boots `factory`, and keeps it in `kept` when it is healthy.
    fn boot(&self, factory: &Path, kept: &Path) -> Result<()> {
        let machine = self.machine(kept);
        overlay_disk(factory, &machine.disk)?;
        let data = machine.data.as_deref().context("a machine without its second disk")?;
        File::create(data)?.set_len(DATA)?;
        let listener = QmpListener::new(kept)?;
        let options: Vec<&str> = listener.options.iter().map(String::as_str).collect();
        let mut vm = Vm::start_with(&machine, &machine.drive(), &options)?;
        let mut qmp = listener.accept()?;
        vm.expect_all(&[self.prompt, "is healthy"], BOOT)?;
        vm.run("sync", 60)?.success()?;
        let save = json!({ "command-line": format!("savevm {SNAPSHOT}") });
        let said = qmp.command("human-monitor-command", save)?;
        ensure!(said.as_str().is_none_or(str::is_empty), "savevm: {said}");
        vm.cut_power()?;
        Ok(fs::remove_file(data)?)
    }
}
