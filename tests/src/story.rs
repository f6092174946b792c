//! The life of an update on a real Debian router, told step by step. The demo prints it, a test
//! runs it.
//!
//! 1.0.0 (trixie) → 2.0.0 (with updates and security: commits) → 3.0.0 (init is broken: falls back)
//! → 4.0.0 (a health check fails: falls back).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::fixture::Fixture;
use crate::vm::{Firmware, Machine, Size, Vm, data_disk, overlay_disk};

/// Seconds that any one boot may take; these machines are slow and shared.
const BOOT: u64 = 600;

/// What the story shows to the person who follows it.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// A new part begins.
    Heading(&'a str),
    /// What happens, in one sentence.
    Text(&'a str),
    /// What a command in the guest printed.
    Screen(&'a str, &'a str),
}

/// Runs the whole story in `dir`.
///
/// # Errors
/// When any step does not end as told.
pub fn run(firmware: Firmware, dir: &Path, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    let fixture = Fixture::open()?;
    tell(Line::Heading("Build"));
    let mut bundles: Vec<PathBuf> = Vec::new();
    for (number, what) in [
        (1, "a router of Debian trixie"),
        (2, "the same recipe with trixie-updates and trixie-security"),
        (3, "2.0.0 with an init that exits at once"),
        (4, "2.0.0 with a health check that fails"),
    ] {
        tell(Line::Text(&format!("{number}.0.0: {what}")));
        bundles.push(
            fixture
                .bundle(&format!("tests/recipes/demo-{number}.yaml"), &format!("{number}.0.0"))?,
        );
    }
    let factory = fixture.disk(&bundles[0], "tests/recipes/demo-1.yaml")?;
    let disk = dir.join("disk.qcow2");
    overlay_disk(&factory, &disk)?;
    let data = dir.join("data.ext4");
    data_disk(
        &data,
        &[("v2.daruma", &bundles[1]), ("v3.daruma", &bundles[2]), ("v4.daruma", &bundles[3])],
    )?;
    let machine = Machine {
        disk,
        format: "qcow2",
        data: Some(data),
        firmware,
        size: Size::Router,
        log: dir.join("serial.log"),
    };

    tell(Line::Heading("1.0.0 boots from the factory image"));
    let mut vm = Vm::start(&machine)?;
    ready(&mut vm)?;
    tell(Line::Text(&format!(
        "power-on to a healthy system: {:.0} s in software emulation",
        vm.uptime()
    )));
    show(&mut vm, tell)?;
    expect(&mut vm, "A", "1.0.0")?;
    vm.run("echo 'set by hand on 1.0.0' > /etc/motd && sync", 60)?.success()?;
    tell(Line::Text("a setting is made by hand: /etc/motd"));

    tell(Line::Heading("2.0.0 is installed into slot B, tried and committed"));
    install(&mut vm, "v2.daruma", tell)?;
    show(&mut vm, tell)?;
    reboot(&mut vm, tell)?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    tell(Line::Text("GRUB: slot B, try 1 of 3 (on trial)"));
    ready(&mut vm)?;
    show(&mut vm, tell)?;
    expect(&mut vm, "B", "2.0.0")?;
    let motd = vm.run("cat /etc/motd", 60)?.success()?;
    ensure!(motd == "set by hand on 1.0.0\n", "the setting is lost: {motd:?}");
    tell(Line::Screen("cat /etc/motd", &motd));

    tell(Line::Heading("3.0.0 cannot boot: its init exits"));
    install(&mut vm, "v3.daruma", tell)?;
    reboot(&mut vm, tell)?;
    for attempt in 1..=3 {
        vm.expect(&format!("slot A, try {attempt} of 3"), BOOT)?;
        tell(Line::Text(&format!("GRUB: slot A, try {attempt} of 3 (on trial)")));
        vm.expect("giving up (broken on purpose)", BOOT)?;
        tell(Line::Text("its init exits, the kernel panics and reboots"));
    }
    vm.expect("slot B, try 1 of 9", BOOT)?;
    tell(Line::Text("GRUB: slot B, try 1 of 9: the tries of A are used up"));
    ready(&mut vm)?;
    show(&mut vm, tell)?;
    expect(&mut vm, "B", "2.0.0")?;

    tell(Line::Heading("4.0.0 boots, but is not healthy"));
    install(&mut vm, "v4.daruma", tell)?;
    reboot(&mut vm, tell)?;
    for attempt in 1..=3 {
        vm.expect(&format!("slot A, try {attempt} of 3"), BOOT)?;
        tell(Line::Text(&format!("GRUB: slot A, try {attempt} of 3 (on trial)")));
        vm.expect("50-uplink", BOOT)?;
        tell(Line::Text("it boots; the health check 50-uplink fails, so the agent reboots"));
    }
    vm.expect("slot B, try 1 of 9", BOOT)?;
    tell(Line::Text("GRUB: slot B, try 1 of 9: the tries of A are used up"));
    ready(&mut vm)?;
    show(&mut vm, tell)?;
    expect(&mut vm, "B", "2.0.0")?;
    let text = vm.run("daruma status", 60)?.success()?;
    for reason in ["never reached its health checks", "no answer from the uplink"] {
        ensure!(text.contains(reason), "the status does not say {reason:?}:\n{text}");
    }
    vm.type_line("systemctl poweroff --force")?;
    Ok(())
}

/// Waits for the shell on the serial line, then for the agent's verdict.
fn ready(vm: &mut Vm) -> Result<()> {
    vm.expect_all(&["router# ", "is healthy"], BOOT)?;
    vm.run("dmesg -n 1; mountpoint -q /mnt || mount -o ro /dev/vdb /mnt", 60)?.success()?;
    Ok(())
}

fn show(vm: &mut Vm, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    let text = vm.run("daruma status", 60)?.success()?;
    tell(Line::Screen("daruma status", &text));
    Ok(())
}

fn install(vm: &mut Vm, bundle: &str, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    let text = vm.run(&format!("daruma install /mnt/{bundle} 2>&1 | cat"), 600)?.success()?;
    tell(Line::Screen(&format!("daruma install /mnt/{bundle}"), &text));
    Ok(())
}

fn reboot(vm: &mut Vm, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    tell(Line::Text("reboot"));
    vm.type_line("systemctl reboot")
}

fn expect(vm: &mut Vm, slot: &str, version: &str) -> Result<()> {
    let text = vm.run("daruma status --json", 60)?.success()?;
    let status: Value =
        serde_json::from_str(text.trim()).with_context(|| format!("status --json: {text}"))?;
    ensure!(
        status["running"] == slot && status["version"] == version && status["state"] == "committed",
        "expected a committed {version} in slot {slot}, and found {status}"
    );
    Ok(())
}
