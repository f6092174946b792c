//! Updates of a real Debian without any health check: the units are the only measure.
//!
//! `healthy::Beginning` keeps the machine that both tests begin with. Its agent takes the baseline
//! some seconds after the verdict, so the tests wait for the baseline's file.

use std::path::Path;

use anyhow::{Result, ensure};
use tests::fixture::Fixture;
use tests::healthy::Beginning;
use tests::vm::{Size, Vm};

use crate::says::status;

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 300;
const FIRST: Beginning<'static> = Beginning {
    recipe: "tests/recipes/units.yaml",
    version: "1.0.0",
    prompt: "router# ",
    size: Size::Router,
};

/// Installs 2.0.0 of `recipe` into B of a healthy 1.0.0 that has a baseline, and reboots. With
/// `last_try`, B begins on the last of its three tries.
fn update(dir: &Path, recipe: &str, last_try: bool) -> Result<Vm> {
    let fixture = Fixture::open()?;
    let bundle = fixture.bundle(recipe, "2.0.0")?;
    let (_, mut vm) = FIRST.resume(&fixture, dir, &[("v2.daruma", &bundle)], &[])?;
    vm.run("dmesg -n 1; mount -o ro /dev/vdb /mnt", 60)?.success()?;
    vm.run("until test -e /var/lib/daruma/units.json; do sleep 1; done", 300)?.success()?;
    let kept = status(&mut vm)?;
    println!("the baseline of 1.0.0: {}", kept["units"]);
    ensure!(kept["units"]["baseline"] == "kept", "no baseline: {kept}");
    ensure!(kept["warnings"].as_array().is_some_and(Vec::is_empty), "warnings: {kept}");
    let names = vm.run("cat /var/lib/daruma/units.json", 60)?.success()?;
    for name in ["ssh.service", "systemd-timesyncd.service", "apt-daily.timer", "tmp.mount"] {
        ensure!(names.contains(name), "{name} is not in the baseline: {names}");
    }
    vm.run("daruma install /mnt/v2.daruma", 300)?.success()?;
    if last_try {
        let esp = "/dev/disk/by-partlabel/esp";
        let count = format!(
            "for at in $(grep -abo B_TRY=0 {esp} | cut -d: -f1); do printf 2 | dd of={esp} bs=1 \
                seek=$((at + 6)) conv=notrunc,fsync 2>/dev/null; done"
        );
        vm.run(&count, 60)?.success()?;
    }
    vm.type_line("systemctl reboot")?;
    Ok(vm)
}

/// Waits for a shell and for health. `lines` are more lines of the agent, which must not come while
/// the status is read.
fn expect_committed(
    vm: &mut Vm,
    slot: &str,
    version: &str,
    lines: &[&str],
) -> Result<serde_json::Value> {
    vm.expect_all(&[&["router# ", "is healthy"], lines].concat(), BOOT)?;
    let status = status(vm)?;
    ensure!(
        status["running"] == slot && status["version"] == version && status["state"] == "committed",
        "expected a committed {version} in slot {slot}, and found {status}"
    );
    Ok(status)
}

#[test]
fn an_update_that_breaks_ssh_is_given_up_without_any_configuration() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut vm = update(dir.path(), "tests/recipes/units-broken.yaml", true)?;
    vm.expect("slot B, try 3 of 3", BOOT)?;
    let reason = "unit ssh.service was active in 1.0.0 and has failed (";
    vm.expect("slot B failed (boot 3 of 3): ", BOOT)?;
    let line = vm.expect("; rebooting", 60)?;
    ensure!(line.starts_with(reason), "given up for another reason: {line}");
    // The agent in A reports the reason: agent/tests/agent/units.rs.
    vm.expect("slot A, try 1 of 9", BOOT)?;
    vm.cut_power()
}

#[test]
fn an_update_that_drops_a_service_on_purpose_commits_and_a_new_unit_that_fails_is_a_warning()
-> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut vm = update(dir.path(), "tests/recipes/units-dropped.yaml", false)?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    let status = expect_committed(&mut vm, "B", "2.0.0", &["recovery is now that of slot B\n"])?;
    let warnings = status["warnings"].to_string();
    ensure!(warnings.contains("unit beacon.service has failed (exit-code)"), "{status}");
    ensure!(!warnings.contains("timesyncd"), "{status}");
    vm.cut_power()
}
