//! Decides how QEMU runs a guest: emulated (TCG), or by the processor (KVM) where that works.
//!
//! `vm` passes the decision to QEMU. A `/dev/kvm` that can be opened proves little: inside some
//! virtual machines an ordinary kernel crashes under KVM. So this file boots a whole guest once,
//! and keeps the answer for this machine. `DARUMA_ACCEL=tcg` or `kvm` overrides the answer.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::fixture::Fixture;
use crate::vm::{Firmware, Machine, Size, Vm, overlay_disk};

/// Seconds in which a guest must be healthy under KVM. An emulated guest takes 20.
const TRIAL: u64 = 60;
const TINY: &str = "tests/recipes/tiny.yaml";
/// The emulated processor: all that QEMU can do, but for what costs an emulator a fifth of its time
/// and no test looks at (fifth level of page tables, protection of the kernel from its own reads).
const EMULATED: &str = "max,la57=off,smap=off,smep=off,umip=off,pku=off";

/// Emulation keeps what it has translated, 1 GiB unless told otherwise. After a reboot each page of
/// RAM with old translations is slow to write, and a router's kernel then takes 30 s longer to
/// start. With 160 MiB the emulator throws all of them away once in each boot.
const TRANSLATIONS: &str = "tcg,tb-size=160";

/// The accelerators for QEMU's `-accel`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// Emulation, which works everywhere.
    Tcg,
    /// The processor's own virtualisation.
    Kvm,
}

impl fmt::Display for Accel {
    /// Explains to a person why a test takes so long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcg => "in software emulation",
            Self::Kvm => "with KVM",
        })
    }
}

impl Accel {
    /// Returns QEMU's options.
    pub(crate) fn options(self) -> [&'static str; 4] {
        match self {
            Self::Tcg => ["-accel", TRANSLATIONS, "-cpu", EMULATED],
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
        }
    }

    /// Returns the accelerator of this machine. The first call on a machine may take a minute.
    ///
    /// # Errors
    /// `DARUMA_ACCEL` is neither `tcg` nor `kvm`, or the guest for the trial cannot be built.
    pub fn of_this_machine() -> Result<Self> {
        static ONCE: OnceLock<Result<Accel, String>> = OnceLock::new();
        let found = || find().map_err(|error| format!("{error:#}"));
        ONCE.get_or_init(found).clone().map_err(anyhow::Error::msg)
    }
}

fn find() -> Result<Accel> {
    match std::env::var("DARUMA_ACCEL").as_deref() {
        Ok("tcg") => return Ok(Accel::Tcg),
        Ok("kvm") => return Ok(Accel::Kvm),
        Err(_) | Ok("") => {}
        Ok(other) => bail!("DARUMA_ACCEL={other}: it is tcg or kvm"),
    }
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let fixture = Fixture::open()?;
    let answer = fixture.cache().join(format!("accel-{}", machine()?));
    let _lock = fixture.lock("accel")?;
    if let Ok(text) = fs::read_to_string(&answer) {
        return Ok(if text.trim() == "kvm" { Accel::Kvm } else { Accel::Tcg });
    }
    let works = boots_under_kvm(&fixture)?;
    let word = if works { "kvm" } else { "tcg" };
    println!(
        "KVM {} here; remembered in {}",
        if works { "works" } else { "fails" },
        answer.display()
    );
    fs::write(&answer, word).with_context(|| format!("writing {}", answer.display()))?;
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

/// Returns a name of this machine. Another processor, kernel or QEMU gets another name and another
/// trial.
fn machine() -> Result<String> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find(|line| line.starts_with("model name")).unwrap_or("");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
    let qemu = qemu.context("starting qemu-system-x86_64 (package qemu-system-x86)")?;
    let mut hash = Sha256::new();
    [processor.as_bytes(), kernel.as_bytes(), &qemu.stdout]
        .iter()
        .for_each(|part| hash.update(part));
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns true if the smallest test system comes up. A guest that crashes or hangs gives false,
/// not an error.
fn boots_under_kvm(fixture: &Fixture) -> Result<bool> {
    let factory = fixture.disk(&fixture.bundle(TINY, "1.0.0")?)?;
    let dir = tempfile::tempdir()?;
    let path = |name: &str| -> PathBuf { Path::new(dir.path()).join(name) };
    overlay_disk(&factory, &path("disk.qcow2"))?;
    let machine = Machine {
        disk: path("disk.qcow2"),
        format: "qcow2",
        data: None,
        firmware: Firmware::Bios,
        size: Size::Tiny,
        log: path("serial.log"),
    };
    let mut vm = Vm::start_on(Accel::Kvm, &machine, &machine.drive(), &[])?;
    Ok(vm.expect_all(&["tiny# ", "is healthy"], TRIAL).is_ok())
}
