//! A factory reset on machines: with a folder that stays, and of a /var that is broken.
//!
//! `initramfs/src/init/root/reset.rs` and `image-layout/tests/empty_var.rs` cut it at every step.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use image_layout::label;
use serde_json::Value;
use tests::fixture::Fixture;
use tests::healthy::Beginning;
use tests::trial_disk::{change_partition, copy};
use tests::vm::{Firmware, Machine, Size, Vm};

use crate::says::status;

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 240;
/// Bytes of the disk. The image has 1.5 GiB.
const DISK: u64 = 4 << 30;
const TINY: &str = "tests/recipes/tiny.yaml";

/// Reboots slot A. Returns what the console said until the shell waits and the slot is healthy.
fn reboot(vm: &mut Vm) -> Result<String> {
    vm.type_line("reboot -f")?;
    let mut console = vm.expect("slot A, try 1 of 9", BOOT)?;
    let (first, more) = vm.expect_any(&["tiny# ", "slot A is healthy"], BOOT)?;
    console += &more;
    console += &vm.expect(if first == 0 { "slot A is healthy" } else { "tiny# " }, BOOT)?;
    Ok(console)
}

#[test]
fn a_reset_keeps_one_folder_and_the_settings_are_those_of_the_image() -> Result<()> {
    let (fixture, dir) = (Fixture::open()?, tempfile::tempdir()?);
    let beginning =
        Beginning { recipe: TINY, version: "1.0.0", prompt: "tiny# ", size: Size::Tiny };
    let (_machine, mut vm) = beginning.resume(&fixture, dir.path(), &[], &[])?;
    let image = vm.run("cat /etc/hostname", 60)?.success()?;
    for command in [
        "mkdir -p /var/lib/app/deep /var/lib/other /var/log/x",
        "echo kept >/var/lib/app/deep/data",
        "chmod 640 /var/lib/app/deep/data",
        "echo gone >/var/lib/other/data",
        "echo changed >/etc/hostname",
    ] {
        vm.run(command, 60)?.success()?;
    }
    let said = vm.run("daruma factory-reset --keep /var/lib/app", 60)?.success()?;
    ensure!(said.contains("empties /var but for /var/lib/app"), "{said}");
    let console = reboot(&mut vm)?;
    ensure!(console.contains("factory reset: of /var only lib/app is left"), "{console}");
    let kept = vm.run("ls -l /var/lib/app/deep/data; cat /var/lib/app/deep/data", 60)?.success()?;
    ensure!(kept.contains("-rw-r-----") && kept.contains("kept"), "{kept}");
    let gone = vm.run("ls /var/lib/other /var/log/x", 60)?;
    ensure!(gone.text.matches("No such file").count() == 2, "{gone:?}");
    ensure!(vm.run("cat /etc/hostname", 60)?.success()? == image, "the settings are the image's");
    let status: Value = status(&mut vm)?;
    ensure!(status["factory_reset"].is_null() && status["var"] == "kept", "{status}");
    ensure!(status["state"] == "committed" && status["running"] == "A", "{status}");
    vm.cut_power()
}

#[test]
fn a_var_whose_first_mib_is_zeroed_is_in_memory_and_a_reset_makes_a_new_one() -> Result<()> {
    let (fixture, dir) = (Fixture::open()?, tempfile::tempdir()?);
    let factory = fixture.disk(&fixture.bundle(TINY, "1.0.0")?)?;
    let disk = dir.path().join("disk.raw");
    copy(&factory, &disk)?;
    change_partition(&disk, label::VAR, zero_first_mib)?;
    // The device's disk is larger than the image, so the new file system grows far.
    File::options().write(true).open(&disk)?.set_len(DISK)?;
    let drive = format!("file={},if=virtio,format=raw,cache=writeback", disk.display());
    let log = dir.path().join("serial.log");
    let firmware = Firmware::Bios;
    let machine = Machine { disk, format: "raw", data: None, firmware, size: Size::Tiny, log };
    let mut vm = Vm::start_with(&machine, &drive, &[])?;
    vm.expect_all(&["tiny# ", "slot A is healthy"], BOOT)?;
    let before = status(&mut vm)?;
    ensure!(before["var"] == "memory", "{before}");
    let text = vm.run("daruma status", 60)?.success()?;
    ensure!(text.contains("'daruma factory-reset' and a reboot make a new one"), "{text}");
    vm.run("daruma factory-reset", 60)?.success()?;
    let console = reboot(&mut vm)?;
    ensure!(console.contains("factory reset: /var is a new file system"), "{console}");
    let after = status(&mut vm)?;
    ensure!(after["var"] == "kept" && after["factory_reset"].is_null(), "{after}");
    // The tiny system has no systemd, and may already say that its units are not judged.
    let warnings = after["warnings"].as_array().context("no warnings in the status")?;
    let of_units = |warning: &Value| {
        warning.as_str().is_some_and(|text| text.starts_with("asking systemd for its units: "))
    };
    ensure!(warnings.iter().all(of_units), "{after}");
    vm.run("grep '^/dev/vda8 /var ext4 rw' /proc/mounts", 60)?.success()?;
    let size = vm.run("df -m /var | tail -n 1", 60)?.success()?;
    let mib: u64 = size
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("df says {size:?}"))?;
    ensure!(mib > 2500, "/var has grown to {mib} MiB only");
    vm.run("grep . /var/lib/daruma/var-filled && sync", 60)?.success()?;
    vm.cut_power()?;
    // e2fsck replays the journal and finds nothing to mend.
    change_partition(&machine.disk, label::VAR, |var| {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let e2fsck = |arguments: &str| {
            std::process::Command::new("e2fsck").arg(arguments).arg(var).env("PATH", &path).output()
        };
        e2fsck("-fy")?;
        let output = e2fsck("-fn")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    })
}

fn zero_first_mib(var: &Path) -> Result<()> {
    Ok(File::options().write(true).open(var)?.write_all_at(&vec![0; 1 << 20], 0)?)
}
