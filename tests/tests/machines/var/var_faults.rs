//! Damages /var, or sets a wrong clock, and checks that the device still works.
//!
//! `tests::trial_disk` changes the disk from outside, before the first boot.
//!
//! The device boots, is healthy, reports the fault, and can be updated.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use image_layout::label;
use tests::fixture::Fixture;
use tests::trial_disk::{change_partition, copy};
use tests::vm::{Firmware, Machine, Size, Vm, data_disk};

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 300;
const TINY: &str = "tests/recipes/tiny.yaml";

/// The only fault that is gone in the next boot.
const MENDED: &str = "/var's superblock was torn by a power cut and is mended";

/// Boots 1.0.0 from a disk that `damage` has changed, with QEMU's `options`.
///
/// Checks that it is healthy and that its status has `warning`. Then calls `before`, installs
/// 2.0.0, boots it and checks that it is committed.
fn boots_and_updates(
    damage: impl FnOnce(&Path) -> Result<()>,
    options: &[&str],
    warning: Option<&str>,
    before: impl FnOnce(&mut Vm) -> Result<()>,
) -> Result<()> {
    let fixture = Fixture::open()?;
    let factory = fixture.disk(&fixture.bundle(TINY, "1.0.0")?)?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data.ext4");
    data_disk(&data, &[("v2.daruma", &fixture.bundle(TINY, "2.0.0")?)])?;
    let disk = dir.path().join("disk.raw");
    copy(&factory, &disk)?;
    damage(&disk)?;
    let drive = format!("file={},if=virtio,format=raw,cache=writeback", disk.display());
    let log = dir.path().join("serial.log");
    let firmware = Firmware::Bios;
    let machine =
        Machine { disk, format: "raw", data: Some(data), firmware, size: Size::Tiny, log };
    let mut vm = Vm::start_with(&machine, &drive, options)?;
    let console = comes_up(&mut vm, "A", warning)?;
    if let Some(warning) = warning {
        ensure!(console.contains(warning), "the console does not say {warning:?}:\n{console}");
    }
    before(&mut vm)?;
    vm.run("mount -t ext4 -o ro /dev/vdb /mnt", 60)?.success()?;
    vm.run("daruma install /mnt/v2.daruma", 300)?.success()?;
    vm.type_line("reboot -f")?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    comes_up(&mut vm, "B", warning.filter(|warning| *warning != MENDED)).map(drop)
}

/// Waits until `slot` is healthy and committed. Returns what the console showed meanwhile.
fn comes_up(vm: &mut Vm, slot: &str, warning: Option<&str>) -> Result<String> {
    let healthy = format!("slot {slot} is healthy");
    let (first, mut console) = vm.expect_any(&["tiny# ", &healthy], BOOT)?;
    console += &vm.expect(if first == 0 { &healthy } else { "tiny# " }, BOOT)?;
    let status = vm.json("daruma status --json", 60)?;
    ensure!(
        status["running"] == slot
            && status["state"] == "committed"
            && status["health"] == "healthy",
        "{status}"
    );
    let warnings = status["warnings"].to_string();
    ensure!(
        warning.is_none_or(|warning| warnings.contains(warning)),
        "the warnings are {warnings}"
    );
    Ok(console)
}

fn undamaged(_: &Path) -> Result<()> {
    Ok(())
}

fn as_it_is(_: &mut Vm) -> Result<()> {
    Ok(())
}

/// Returns a command. The PATH of an ordinary user lacks e2fsprogs and fdisk.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command.stdin(Stdio::null());
    command
}

fn debugfs(var: &Path, request: &str) -> Result<String> {
    let output = tool("debugfs")
        .args(["-w", "-R", request])
        .arg(var)
        .output()
        .context("starting debugfs")?;
    ensure!(
        output.status.success(),
        "debugfs {request}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns bytes without a pattern. They are the same in each run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 20_261_121_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn overwrite(path: &Path, at: u64, length: usize) -> Result<()> {
    Ok(File::options().write(true).open(path)?.write_all_at(&noise(length), at)?)
}

#[test]
fn a_full_var() -> Result<()> {
    boots_and_updates(undamaged, &[], None, |vm| {
        // The test runs as root in the guest. So it fills the reserved blocks too, to the last one.
        let filled = vm.run("cat /dev/zero > /var/fill; echo x > /var/more", 300)?;
        ensure!(filled.text.contains("No space left on device"), "{filled:?}");
        Ok(())
    })
}

#[test]
fn a_var_that_this_kernel_may_only_read() -> Result<()> {
    let future = |var: &Path| debugfs(var, "ssv feature_ro_compat 0x4000046b").map(drop);
    boots_and_updates(
        |disk| change_partition(disk, label::VAR, future),
        &[],
        Some("it is read-only, changes are in memory"),
        as_it_is,
    )
}

#[test]
fn a_var_whose_superblock_was_torn() -> Result<()> {
    // The number of mounts, in the first sector, is new. The checksum, in the second sector, is
    // old.
    let torn = |var: &Path| {
        Ok(File::options().write(true).open(var)?.write_all_at(&[77, 0], 1024 + 0x34)?)
    };
    boots_and_updates(
        |disk| change_partition(disk, label::VAR, torn),
        &[],
        Some(MENDED),
        |vm| vm.run("grep '^/dev/vda8 /var ext4 rw' /proc/mounts", 60)?.success().map(drop),
    )
}

#[test]
fn a_var_whose_superblock_is_noise() -> Result<()> {
    boots_and_updates(
        |disk| change_partition(disk, label::VAR, |var| overwrite(var, 1024, 1024)),
        &[],
        Some("/var is in memory, nothing is kept"),
        as_it_is,
    )
}

#[test]
fn a_var_whose_journal_is_noise() -> Result<()> {
    let noisy = |var: &Path| {
        let blocks = debugfs(var, "blocks <8>")?;
        let first: u64 =
            blocks.split_ascii_whitespace().next().context("the journal has no blocks")?.parse()?;
        overwrite(var, first * 4096, 64 << 10)
    };
    boots_and_updates(
        |disk| change_partition(disk, label::VAR, noisy),
        &[],
        Some("it is read-only, changes are in memory"),
        as_it_is,
    )
}

#[test]
fn a_disk_without_var() -> Result<()> {
    let removed = |disk: &Path| {
        let output = tool("sfdisk").args(["-q", "--delete"]).arg(disk).arg("8").output()?;
        ensure!(output.status.success(), "sfdisk: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    boots_and_updates(removed, &[], Some("the partition var is missing"), as_it_is)
}

/// Updates a router whose clock says `time`. A router without a battery may have any time.
fn at(time: &str, year: &str) -> Result<()> {
    // The guest has a clock of its own, because QEMU counts the distance to the host's clock in 32
    // bits.
    boots_and_updates(undamaged, &["-rtc", &format!("base={time},clock=vm")], None, |vm| {
        let now = vm.run("date -u +%Y", 60)?.success()?;
        ensure!(now.trim() == year, "the guest's clock says {now:?}");
        Ok(())
    })
}

#[test]
fn a_clock_that_stands_in_1970() -> Result<()> {
    at("1970-01-01T00:00:10", "1970")
}

#[test]
fn a_clock_that_stands_in_2100() -> Result<()> {
    at("2100-01-01T00:00:00", "2100")
}
