//! Updates of real machines with real GRUB; each test shows one behaviour.
//!
//! `healthy::Beginning` keeps the machine that most tests begin with. The root filesystem is small
//! and boots in seconds.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tests::fixture::Fixture;
use tests::healthy::Beginning;
use tests::vm::{Machine, Size, Vm};

use crate::says::status;

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 240;
const TINY: &str = "tests/recipes/tiny.yaml";

/// A machine with version 1.0.0 in slot A and the bundles on a second disk at /mnt.
struct Device {
    machine: Machine,
    _dir: tempfile::TempDir,
}

impl Device {
    /// Returns a healthy machine under BIOS. Each of `bundles` is a name on the second disk, a
    /// recipe and a version.
    fn healthy(bundles: &[(&str, &str, &str)]) -> Result<(Self, Vm)> {
        let (fixture, dir) = (Fixture::open()?, tempfile::tempdir()?);
        let files = built(&fixture, bundles)?;
        let files: Vec<(&str, &Path)> =
            files.iter().map(|(name, path)| (*name, path.as_path())).collect();
        let beginning =
            Beginning { recipe: TINY, version: "1.0.0", prompt: "tiny# ", size: Size::Tiny };
        let (machine, mut vm) = beginning.resume(&fixture, dir.path(), &files, &[])?;
        mount(&mut vm)?;
        Ok((Self { machine, _dir: dir }, vm))
    }

    /// Powers on and waits for a shell and for the agent's verdict.
    fn boot(&self) -> Result<Vm> {
        let mut vm = Vm::start(&self.machine)?;
        wait_healthy(&mut vm)?;
        Ok(vm)
    }
}

/// Returns the bundles by their names on the second disk.
fn built<'a>(
    fixture: &Fixture,
    bundles: &[(&'a str, &str, &str)],
) -> Result<Vec<(&'a str, PathBuf)>> {
    let build = |(name, recipe, version): &(&'a str, &str, &str)| {
        Ok((*name, fixture.bundle(recipe, version)?))
    };
    bundles.iter().map(build).collect()
}

/// Waits until the system that runs now is healthy, with its shell ready and the bundles mounted.
fn wait_healthy(vm: &mut Vm) -> Result<()> {
    vm.expect_all(&["tiny# ", "is healthy"], BOOT)?;
    mount(vm)
}

fn mount(vm: &mut Vm) -> Result<()> {
    vm.run("mount -t ext4 -o ro /dev/vdb /mnt", 60)?.success().map(drop)
}

fn running(vm: &mut Vm) -> Result<(String, String)> {
    let status = status(vm)?;
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    Ok((text("running"), text("version")))
}

fn expect_running(vm: &mut Vm, slot: &str, version: &str) -> Result<()> {
    let found = running(vm)?;
    ensure!(found == (slot.to_owned(), version.to_owned()), "runs {found:?}, not {slot} {version}");
    Ok(())
}

fn install_and_reboot(vm: &mut Vm, bundle: &str) -> Result<()> {
    vm.run(&format!("daruma install {bundle}"), 300)?.success()?;
    vm.type_line("reboot -f")
}

fn committed(vm: &mut Vm) -> Result<()> {
    let status = status(vm)?;
    ensure!(
        status["state"] == "committed" && status["health"] == "healthy",
        "not committed: {status}"
    );
    Ok(())
}

/// Installs the bundle of `recipe` (version 3.0.0, broken) over a committed 1.0.0.
///
/// Checks that A comes back and that the status gives the reason.
fn broken_update_falls_back(recipe: &str, seen: &str, reason: &str) -> Result<()> {
    let (_device, mut vm) = Device::healthy(&[("broken.daruma", recipe, "3.0.0")])?;
    install_and_reboot(&mut vm, "/mnt/broken.daruma")?;
    for attempt in 1..=3 {
        vm.expect(&format!("slot B, try {attempt} of 3"), BOOT)?;
        vm.expect(seen, BOOT)?;
    }
    vm.expect("slot A", BOOT)?;
    wait_healthy(&mut vm)?;
    expect_running(&mut vm, "A", "1.0.0")?;
    committed(&mut vm)?;
    let text = vm.run("daruma status", 60)?.success()?;
    ensure!(text.contains(reason), "the status does not say {reason:?}:\n{text}");
    Ok(())
}

#[test]
fn a_new_slot_boots_and_commits_and_keeps_settings_and_files() -> Result<()> {
    let (_device, mut vm) = Device::healthy(&[("v2.daruma", TINY, "2.0.0")])?;
    expect_running(&mut vm, "A", "1.0.0")?;
    vm.run(
        "echo mine > /etc/setting && mkdir -p /var/lib/app && echo data > /var/lib/app/file && \
        sync",
        60,
    )?
    .success()?;
    install_and_reboot(&mut vm, "/mnt/v2.daruma")?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    wait_healthy(&mut vm)?;
    expect_running(&mut vm, "B", "2.0.0")?;
    committed(&mut vm)?;
    let kept = vm.run("cat /etc/setting /var/lib/app/file", 60)?.success()?;
    ensure!(kept == "mine\ndata\n", "{kept:?}");
    // No program of the new system may write to its root.
    ensure!(vm.run("touch /usr/written", 60)?.status != 0, "the root is writable");
    Ok(())
}

#[test]
fn falling_back_restores_the_old_slots_etc_and_its_owners() -> Result<()> {
    let (_device, mut vm) = Device::healthy(&[("v2.daruma", TINY, "2.0.0")])?;
    let account = "echo app:x:101:101::/:/bin/sh >> /etc/passwd; echo app:x:101: >> /etc/group";
    vm.run(&format!("echo old > /etc/setting; {account}"), 60)?.success()?;
    vm.run("mkdir /var/lib/app && chown 101:101 /var/lib/app && sync", 60)?.success()?;
    install_and_reboot(&mut vm, "/mnt/v2.daruma")?;
    wait_healthy(&mut vm)?;
    expect_running(&mut vm, "B", "2.0.0")?;
    vm.run("echo new > /etc/setting && echo new > /etc/added && sync", 60)?.success()?;
    // In this system the account has another number, and so have its files.
    vm.run("sed -i s/app:x:101/app:x:103/ /etc/passwd /etc/group", 60)?.success()?;
    vm.run("chown 103:103 /var/lib/app && sync", 60)?.success()?;
    vm.run("daruma rollback", 60)?.success()?;
    vm.type_line("reboot -f")?;
    wait_healthy(&mut vm)?;
    expect_running(&mut vm, "A", "1.0.0")?;
    let etc = vm.run("cat /etc/setting; ls /etc/added 2>/dev/null", 60)?.text;
    ensure!(etc == "old\n", "{etc:?}");
    let owner = vm.run("stat -c '%u %g' /var/lib/app", 60)?.success()?;
    ensure!(owner == "101 101\n", "/var/lib/app belongs to {owner}");
    Ok(())
}

#[test]
fn a_kernel_that_panics_in_init_falls_back() -> Result<()> {
    broken_update_falls_back(
        "tests/recipes/tiny-panic.yaml",
        "giving up (broken on purpose)",
        "never reached its health checks",
    )
}

#[test]
fn an_init_that_hangs_is_reset_by_the_watchdog_and_falls_back() -> Result<()> {
    broken_update_falls_back(
        "tests/recipes/tiny-hang.yaml",
        "doing nothing for ever (broken on purpose)",
        "never reached its health checks",
    )
}

#[test]
fn failing_health_falls_back_and_says_which_check() -> Result<()> {
    broken_update_falls_back(
        "tests/recipes/tiny-unhealthy.yaml",
        "50-uplink",
        "no answer from the uplink",
    )
}

/// Overwrites part of a partition of the idle slot after the install, then boots that slot.
fn damaged_slot(partition: u32, seek_kib: u32, seen: &str) -> Result<()> {
    let (_device, mut vm) = Device::healthy(&[("v2.daruma", TINY, "2.0.0")])?;
    vm.run("daruma install /mnt/v2.daruma", 300)?.success()?;
    vm.run(
        &format!(
            "dd if=/dev/urandom of=/dev/vda{partition} bs=1k seek={seek_kib} count=256 \
                conv=fsync,notrunc"
        ),
        60,
    )?
    .success()?;
    vm.type_line("reboot -f")?;
    vm.expect(seen, BOOT)?;
    wait_healthy(&mut vm)?;
    expect_running(&mut vm, "A", "1.0.0")?;
    committed(&mut vm)?;
    // The device never takes this bundle again by itself. A person may install it.
    let refused = vm.run("daruma install /mnt/v2.daruma", 300)?;
    ensure!(refused.status == 21, "a bundle that failed is not in quarantine: {refused:?}");
    install_and_reboot(&mut vm, "--allow-quarantined /mnt/v2.daruma")?;
    wait_healthy(&mut vm)?;
    expect_running(&mut vm, "B", "2.0.0")?;
    committed(&mut vm)
}

#[test]
fn a_corrupt_kernel_is_skipped_in_grub() -> Result<()> {
    damaged_slot(5, 4096, "slot A")
}

#[test]
fn a_corrupt_root_is_found_by_dm_verity_and_falls_back() -> Result<()> {
    damaged_slot(6, 0, "slot B, try 3 of 3")
}

#[test]
fn power_cut_in_the_middle_of_an_install_then_a_second_install_succeeds() -> Result<()> {
    let (device, mut vm) = Device::healthy(&[("v2.daruma", TINY, "2.0.0")])?;
    vm.type_line("daruma install /mnt/v2.daruma")?;
    // The agent prints the line that says what will be written. The bar follows.
    vm.expect("to write (", 120)?;
    vm.expect(")\n", 120)?;
    // The agent draws the bar three times. By then some of the payload is written.
    for _ in 0..3 {
        vm.expect(" % of ", 120)?;
    }
    vm.cut_power()?;
    let mut vm = device.boot()?;
    expect_running(&mut vm, "A", "1.0.0")?;
    let half = status(&mut vm)?;
    ensure!(half["slots"]["B"]["ok"] == false, "the cut came too late to prove anything: {half}");
    install_and_reboot(&mut vm, "/mnt/v2.daruma")?;
    wait_healthy(&mut vm)?;
    expect_running(&mut vm, "B", "2.0.0")?;
    committed(&mut vm)
}

#[test]
fn with_both_slots_exhausted_the_machine_comes_back_by_itself() -> Result<()> {
    let (device, mut vm) = Device::healthy(&[])?;
    // The power fails nine times in a row between GRUB and the health checks.
    for attempt in 1..=9 {
        vm.cut_power()?;
        vm = Vm::start(&device.machine)?;
        vm.expect(&format!("slot A, try {attempt} of 9"), BOOT)?;
        vm.expect("starting tiny 1.0.0", BOOT)?;
    }
    vm.cut_power()?;
    let mut vm = Vm::start(&device.machine)?;
    vm.expect("slot A (committed) has used up its 9 tries", BOOT)?;
    vm.expect("slot B is marked bad", BOOT)?;
    vm.expect("recovery", BOOT)?;
    vm.expect("slot A, try 1 of 9", BOOT)?;
    wait_healthy(&mut vm)?;
    expect_running(&mut vm, "A", "1.0.0")
}
