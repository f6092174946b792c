//! The life of an update on a real Debian router, step by step.
//!
//! The demo prints the steps, and a test runs them. 1.0.0 is trixie. 2.0.0 has Debian's updates,
//! and is committed. 3.0.0 has a broken init, and falls back. 4.0.0 has no sshd, and falls
//! back.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::accel::Accel;
use crate::fixture::Fixture;
use crate::healthy::Beginning;
use crate::vm::{Firmware, Machine, Size, Vm, data_disk, overlay_disk};

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 600;

/// The system at the start of the story.
pub const FIRST: Beginning<'static> = Beginning {
    recipe: "tests/recipes/demo-1.yaml",
    version: "1.0.0",
    prompt: "router# ",
    size: Size::Router,
};

/// The lines that the story shows to a person.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// A new part begins.
    Heading(&'a str),
    /// One sentence about what happens.
    Text(&'a str),
    /// A command in the guest, and what it printed.
    Screen(&'a str, &'a str),
}

/// The start of the story.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// The story starts with a factory-new disk, under this firmware.
    PowerOn(Firmware),
    /// The story starts with a healthy system that another run has booted.
    Health,
}

/// Runs the whole story in `dir`.
///
/// # Errors
/// A step does not end as told.
pub fn run(from: From, dir: &Path, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    let fixture = Fixture::open()?;
    tell(Line::Heading("Build"));
    let mut bundles: Vec<PathBuf> = Vec::new();
    for (number, what) in [
        (1, "a router of Debian trixie"),
        (2, "the same recipe with trixie-updates and trixie-security"),
        (3, "2.0.0 with an init that exits at once"),
        (4, "2.0.0 without sshd; nothing was configured to notice that"),
    ] {
        tell(Line::Text(&format!("{number}.0.0: {what}")));
        bundles.push(
            fixture
                .bundle(&format!("tests/recipes/demo-{number}.yaml"), &format!("{number}.0.0"))?,
        );
    }
    let files: Vec<(&str, &Path)> = ["v2.daruma", "v3.daruma", "v4.daruma"]
        .into_iter()
        .zip(bundles[1..].iter().map(PathBuf::as_path))
        .collect();
    let mut vm = match from {
        From::PowerOn(firmware) => {
            tell(Line::Heading("1.0.0 boots from the factory image"));
            let mut vm = power_on(&fixture, firmware, &bundles[0], dir, &files)?;
            vm.expect_all(&["router# ", "is healthy"], BOOT)?;
            tell(Line::Text(&format!(
                "power-on to a healthy system: {:.0} s ({})",
                vm.uptime(),
                Accel::of_this_machine()?
            )));
            vm
        }
        From::Health => {
            tell(Line::Heading("1.0.0 is healthy"));
            FIRST.resume(&fixture, dir, &files, &[])?.1
        }
    };
    settle(&mut vm)?;
    show(&mut vm, tell)?;
    expect(&mut vm, "A", "1.0.0")?;
    vm.run("echo 'set by hand on 1.0.0' > /etc/motd && sync", 60)?.success()?;
    tell(Line::Text("a setting is made by hand: /etc/motd"));

    tell(Line::Heading("2.0.0 is installed into slot B, tried and committed"));
    install(&mut vm, "v2.daruma", tell)?;
    show(&mut vm, tell)?;
    reboot(&mut vm, "slot B, try 1 of 3", tell)?;
    tell(Line::Text("GRUB: slot B, try 1 of 3 (on trial)"));
    ready(&mut vm)?;
    show(&mut vm, tell)?;
    expect(&mut vm, "B", "2.0.0")?;
    let motd = vm.run("cat /etc/motd", 60)?.success()?;
    ensure!(motd == "set by hand on 1.0.0\n", "the setting is lost: {motd:?}");
    tell(Line::Screen("cat /etc/motd", &motd));

    tell(Line::Heading("3.0.0 cannot boot: its init exits"));
    install(&mut vm, "v3.daruma", tell)?;
    reboot(&mut vm, "slot A, try 1 of 3", tell)?;
    for attempt in 1..=3 {
        if attempt > 1 {
            vm.expect(&format!("slot A, try {attempt} of 3"), BOOT)?;
        }
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
    reboot(&mut vm, "slot A, try 1 of 3", tell)?;
    for attempt in 1..=3 {
        if attempt > 1 {
            vm.expect(&format!("slot A, try {attempt} of 3"), BOOT)?;
        }
        tell(Line::Text(&format!("GRUB: slot A, try {attempt} of 3 (on trial)")));
        vm.expect("unit ssh.service was active in", BOOT)?;
        tell(Line::Text("it boots; ssh.service worked before and fails now: the agent reboots"));
    }
    vm.expect("slot B, try 1 of 9", BOOT)?;
    tell(Line::Text("GRUB: slot B, try 1 of 9: the tries of A are used up"));
    ready(&mut vm)?;
    show(&mut vm, tell)?;
    expect(&mut vm, "B", "2.0.0")?;
    let text = vm.run("daruma status", 60)?.success()?;
    for reason in ["never reached its health checks", "unit ssh.service was active in"] {
        ensure!(text.contains(reason), "the status does not say {reason:?}:\n{text}");
    }
    vm.type_line("systemctl poweroff --force")?;
    Ok(())
}

/// Powers on a machine with `files` on its second disk.
fn power_on(
    fixture: &Fixture,
    firmware: Firmware,
    bundle: &Path,
    dir: &Path,
    files: &[(&str, &Path)],
) -> Result<Vm> {
    let factory = fixture.disk(bundle)?;
    let disk = dir.join("disk.qcow2");
    overlay_disk(&factory, &disk)?;
    let data = dir.join("data.ext4");
    data_disk(&data, files)?;
    Vm::start(&Machine {
        disk,
        format: "qcow2",
        data: Some(data),
        firmware,
        size: FIRST.size,
        log: dir.join("serial.log"),
    })
}

/// Waits for the shell on the serial line, and then for the agent's verdict.
fn ready(vm: &mut Vm) -> Result<()> {
    vm.expect_all(&["router# ", "is healthy"], BOOT)?;
    settle(vm)
}

/// Turns the kernel's messages on the console off, and mounts the bundles.
fn settle(vm: &mut Vm) -> Result<()> {
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

/// Reboots, and waits until GRUB says `next`. A clean shutdown shows nothing that reads as a fault.
fn reboot(vm: &mut Vm, next: &str, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    tell(Line::Text("reboot"));
    vm.type_line("systemctl reboot")?;
    let shown = vm.expect(next, BOOT)?;
    for fault in ["FAILED", "Unable to", "Failed to", "daruma-init: "] {
        ensure!(!shown.contains(fault), "the shutdown shows {fault:?}:\n{shown}");
    }
    Ok(())
}

fn expect(vm: &mut Vm, slot: &str, version: &str) -> Result<()> {
    let status = vm.json("daruma status --json", 60)?;
    ensure!(
        status["running"] == slot && status["version"] == version && status["state"] == "committed",
        "expected a committed {version} in slot {slot}, and found {status}"
    );
    Ok(())
}
