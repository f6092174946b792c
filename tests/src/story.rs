//! The life of an update on a real Debian router, step by step.
//!
//! The demo prints the steps. A test runs the last one; other tests have the parts of the rest.
//! 1.0.0 is trixie. 2.0.0 has Debian's updates, and is committed. 3.0.0 has a broken init, and is
//! given up. 4.0.0 has no sshd, and is given up.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, anyhow, ensure};
use image_layout::Slot;

use crate::accel::Accel;
use crate::fixture::Fixture;
use crate::healthy::Beginning;
use crate::trial_disk;
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

/// What the agent says of 4.0.0.
const SSHD: &str = "unit ssh.service was active in";
/// The updates of the story: major version, and what it is.
const UPDATES: [(u32, &str); 3] = [
    (2, "the same recipe with trixie-updates and trixie-security"),
    (3, "2.0.0 with an init that exits at once"),
    (4, "2.0.0 without sshd; nothing was configured to notice that"),
];
/// Their names on the second disk.
const FILES: [&str; 3] = ["v2.daruma", "v3.daruma", "v4.daruma"];
/// The image of the second disk.
const SECOND: &str = "data.ext4";
/// Its size. Only what is written takes room.
const SECOND_BYTES: u64 = 1 << 30;

/// Runs the whole story in `dir`, from a factory-new disk under this firmware.
///
/// # Errors
/// A step does not end as told.
pub fn run(firmware: Firmware, dir: &Path, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    let fixture = Fixture::open()?;
    tell(Line::Heading("Build"));
    tell(Line::Text("1.0.0: a router of Debian trixie"));
    let (first, accel) = together(Accel::of_this_machine, || bundle(&fixture, 1))?;
    for (number, what) in UPDATES {
        tell(Line::Text(&format!("{number}.0.0: {what}")));
    }
    tell(Line::Text(&format!("they are built while 1.0.0 boots ({accel})")));

    tell(Line::Heading("1.0.0 boots from the factory image"));
    let mut vm = power_on(&fixture, firmware, &first, dir)?;
    let (uptime, bundles) = together(
        || UPDATES.iter().map(|(number, _)| bundle(&fixture, *number)).collect::<Result<Vec<_>>>(),
        || vm.expect_all(&["router# ", "is healthy"], BOOT).map(|_| vm.uptime()),
    )?;
    hand_over(dir, &bundles)?;
    tell(Line::Text(&format!("power-on to a healthy system: {uptime:.0} s ({accel})")));
    settle(&mut vm)?;
    show(&mut vm, tell)?;
    expect(&mut vm, Slot::A, "1.0.0")?;
    vm.run("echo 'set by hand on 1.0.0' > /etc/motd && sync", 60)?.success()?;
    tell(Line::Text("a setting is made by hand: /etc/motd"));

    tell(Line::Heading("2.0.0 is installed into slot B, tried and committed"));
    install(&mut vm, FILES[0], tell)?;
    show(&mut vm, tell)?;
    reboot(&mut vm, "slot B, try 1 of 3", tell)?;
    tell(Line::Text("GRUB: slot B, try 1 of 3 (on trial)"));
    ready(&mut vm)?;
    show(&mut vm, tell)?;
    expect(&mut vm, Slot::B, "2.0.0")?;
    let motd = vm.run("cat /etc/motd", 60)?.success()?;
    ensure!(motd == "set by hand on 1.0.0\n", "the setting is lost: {motd:?}");
    tell(Line::Screen("cat /etc/motd", &motd));

    tell(Line::Heading("3.0.0 cannot boot: its init exits"));
    let (seen, what) =
        ("giving up (broken on purpose)", "its init exits, the kernel panics and reboots");
    is_given_up(&mut vm, FILES[1], Slot::A, (seen, what), tell)?;
    expect(&mut vm, Slot::B, "2.0.0")?;

    without_sshd(&mut vm, Slot::A, tell)?;
    expect(&mut vm, Slot::B, "2.0.0")?;
    let text = vm.run("daruma status", 60)?.success()?;
    ensure!(text.contains("never reached its health checks"), "the status lacks 3.0.0:\n{text}");
    vm.type_line("systemctl poweroff --force")?;
    Ok(())
}

/// Runs the end of the story in `dir`: 4.0.0 over a healthy 1.0.0, which another run has booted.
/// Two of the three tries are used up before the first boot.
///
/// # Errors
/// A step does not end as told.
pub fn end(dir: &Path, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    let fixture = Fixture::open()?;
    let last = bundle(&fixture, 4)?;
    let (machine, mut vm) = FIRST.resume(&fixture, dir, &[(FILES[2], &last)], &[])?;
    settle(&mut vm)?;
    vm.run("until test -e /var/lib/daruma/units.json; do sleep 1; done", 300)?.success()?;
    install(&mut vm, FILES[2], tell)?;
    vm.run("sync", 60)?.success()?;
    vm.cut_power()?;
    let raw = dir.join("disk.raw");
    trial_disk::raw_of(&machine.disk, &raw)?;
    trial_disk::use_up(&raw, 2)?;
    let mut vm = Vm::start(&Machine { disk: raw, format: "raw", ..machine })?;
    vm.expect("slot B, try 3 of 3", BOOT)?;
    vm.expect(SSHD, BOOT)?;
    vm.expect("slot A, try 1 of 9", BOOT)?;
    ready(&mut vm)?;
    says_why(&mut vm)?;
    expect(&mut vm, Slot::A, "1.0.0")
}

fn bundle(fixture: &Fixture, number: u32) -> Result<PathBuf> {
    fixture.bundle(&format!("tests/recipes/demo-{number}.yaml"), &format!("{number}.0.0"))
}

/// Installs 4.0.0 into `slot`, and waits until the other slot is back.
fn without_sshd(vm: &mut Vm, slot: Slot, tell: &mut dyn FnMut(Line<'_>)) -> Result<()> {
    tell(Line::Heading("4.0.0 boots, but is not healthy"));
    let what = "it boots; ssh.service worked before and fails now: the agent reboots";
    is_given_up(vm, FILES[2], slot, (SSHD, what), tell)?;
    says_why(vm)
}

fn says_why(vm: &mut Vm) -> Result<()> {
    let text = vm.run("daruma status", 60)?.success()?;
    ensure!(text.contains(SSHD), "the status does not say {SSHD:?}:\n{text}");
    Ok(())
}

/// Installs `bundle` into `slot`, which each of its three tries fails. `says` is what the console
/// shows then, and what to tell. The other slot comes back.
fn is_given_up(
    vm: &mut Vm,
    bundle: &str,
    slot: Slot,
    says: (&str, &str),
    tell: &mut dyn FnMut(Line<'_>),
) -> Result<()> {
    install(vm, bundle, tell)?;
    for attempt in 1..=3 {
        let grub = format!("slot {slot}, try {attempt} of 3");
        match attempt {
            1 => reboot(vm, &grub, tell)?,
            _ => drop(vm.expect(&grub, BOOT)?),
        }
        tell(Line::Text(&format!("GRUB: {grub} (on trial)")));
        vm.expect(says.0, BOOT)?;
        tell(Line::Text(says.1));
    }
    let grub = format!("slot {}, try 1 of 9", !slot);
    vm.expect(&grub, BOOT)?;
    tell(Line::Text(&format!("GRUB: {grub}: the tries of {slot} are used up")));
    ready(vm)?;
    show(vm, tell)
}

/// Runs `aside` in a thread of its own beside `here`.
fn together<A: Send, H>(
    aside: impl FnOnce() -> Result<A> + Send,
    here: impl FnOnce() -> Result<H>,
) -> Result<(H, A)> {
    thread::scope(|scope| {
        let aside = scope.spawn(aside);
        let here = here()?;
        Ok((here, aside.join().map_err(|_| anyhow!("a thread panicked"))??))
    })
}

/// Powers on a machine with an empty second disk.
fn power_on(fixture: &Fixture, firmware: Firmware, bundle: &Path, dir: &Path) -> Result<Vm> {
    let factory = fixture.disk(bundle)?;
    let disk = dir.join("disk.qcow2");
    overlay_disk(&factory, &disk)?;
    let data = dir.join(SECOND);
    File::create(&data)?.set_len(SECOND_BYTES)?;
    Vm::start(&Machine {
        disk,
        format: "qcow2",
        data: Some(data),
        firmware,
        size: FIRST.size,
        log: dir.join("serial.log"),
    })
}

/// Puts the updates onto the second disk of the machine that runs. It has not read that disk yet.
fn hand_over(dir: &Path, bundles: &[PathBuf]) -> Result<()> {
    let files: Vec<(&str, &Path)> =
        FILES.into_iter().zip(bundles.iter().map(PathBuf::as_path)).collect();
    let made = dir.join("made.ext4");
    data_disk(&made, &files)?;
    let length = io::copy(
        &mut File::open(&made)?,
        &mut File::options().write(true).open(dir.join(SECOND))?,
    )?;
    ensure!(length <= SECOND_BYTES, "the updates have {length} bytes, and the disk {SECOND_BYTES}");
    Ok(fs::remove_file(made)?)
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

fn expect(vm: &mut Vm, slot: Slot, version: &str) -> Result<()> {
    let status = vm.json("daruma status --json", 60)?;
    ensure!(
        status["running"] == slot.name()
            && status["version"] == version
            && status["state"] == "committed",
        "expected a committed {version} in slot {slot}, and found {status}"
    );
    Ok(())
}
