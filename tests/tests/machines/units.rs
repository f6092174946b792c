//! An update of a real Debian without any health check: the units are the only measure.
//!
//! The router's story has an update that breaks ssh. `healthy::Beginning` keeps the machine that
//! the test here begins with. Its agent takes the baseline some seconds after the verdict, so the
//! test waits for the baseline's file.

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

/// Installs 2.0.0 of `recipe` into B of a healthy 1.0.0 that has a baseline, and reboots.
fn update(dir: &Path, recipe: &str) -> Result<Vm> {
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
fn an_update_that_drops_a_service_on_purpose_commits_and_a_new_unit_that_fails_is_a_warning()
-> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut vm = update(dir.path(), "tests/recipes/units-dropped.yaml")?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    let status = expect_committed(&mut vm, "B", "2.0.0", &["recovery is now that of slot B\n"])?;
    let warnings = status["warnings"].to_string();
    ensure!(warnings.contains("unit beacon.service has failed (exit-code)"), "{status}");
    ensure!(!warnings.contains("timesyncd"), "{status}");
    vm.cut_power()
}
