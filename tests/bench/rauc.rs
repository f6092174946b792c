//! Debian's RAUC in a chroot of its own.
//!
//! `slots` makes its slots, which Daruma uses too. The service of RAUC has a D-Bus of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, Io, Usage};
use crate::slots::Slots;

/// The images to install. The Daruma bundle has the same files.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    pub(crate) boot: PathBuf,
    pub(crate) root: PathBuf,
}

impl Images {
    /// Returns the sizes of both, bytes.
    pub(crate) fn sizes(&self) -> Result<(u64, u64)> {
        Ok((fs::metadata(&self.boot)?.len(), fs::metadata(&self.root)?.len()))
    }
}

/// A running RAUC service. It believes that the system has booted from slot A.
#[derive(Debug)]
pub(crate) struct Rauc {
    root: PathBuf,
    bus: Child,
    service: Child,
}

/// Paths in the chroot.
const BUS: &str = "/bench/bus";
const LOG: &str = "/bench/log";
const SLOTS: &str = "/bench/slots";
const GRUBENV: &str = "/bench/grubenv";
const STATUS: &str = "/bench/rauc.status";

impl Rauc {
    /// Unpacks the root filesystem `tar` in `dir` and starts bus and service there.
    pub(crate) fn start(tar: &Path, dir: &Path, slots: &Slots) -> Result<Self> {
        let root = dir.to_owned();
        fs::create_dir_all(&root)?;
        process::run(
            process::command("tar").arg("-xf").arg(tar).arg("-C").arg(&root).arg("--numeric-owner"),
        )?;
        for (source, target) in [("/proc", "proc"), ("/sys", "sys"), ("/dev", "dev")] {
            process::run(
                process::command("mount").args(["--rbind", source]).arg(root.join(target)),
            )?;
        }
        fs::create_dir_all(root.join(&SLOTS[1..]))?;
        process::run(
            process::command("mount").arg("--bind").arg(slots.dir()).arg(root.join(&SLOTS[1..])),
        )?;
        fs::create_dir_all(root.join("run/dbus"))?;
        fs::create_dir_all(root.join("etc/rauc"))?;
        fs::write(root.join("etc/rauc/system.conf"), system_conf())?;
        process::run(chroot(&root, "openssl").args([
            "req",
            "-x509",
            "-newkey",
            "rsa:4096",
            "-nodes",
            "-keyout",
            "/bench/key.pem",
            "-out",
            "/bench/cert.pem",
            "-subj",
            "/CN=bench",
            "-days",
            "3650",
        ]))?;
        reset_environment(&root)?;
        let log = File::create(root.join(&LOG[1..]))?;
        let daemon = |command: &mut Command| -> Result<Child> {
            let command =
                command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
            command.spawn().with_context(|| format!("starting {command:?}"))
        };
        let bus = daemon(chroot(&root, "dbus-daemon").args([
            "--config-file=/usr/share/dbus-1/system.conf",
            "--nofork",
            "--nopidfile",
            &format!("--address=unix:path={BUS}"),
        ]))?;
        wait_for("RAUC's D-Bus", || root.join(&BUS[1..]).exists())?;
        let service = daemon(chroot(&root, "rauc").args(["service", "--override-boot-slot=A"]))?;
        let this = Self { root, bus, service };
        wait_for("RAUC's service", || {
            chroot(&this.root, "rauc")
                .arg("status")
                .output()
                .is_ok_and(|output| output.status.success())
        })?;
        Ok(this)
    }

    /// Returns the version as RAUC prints it: `rauc 1.13`.
    pub(crate) fn version(&self) -> Result<String> {
        Ok(process::run(chroot(&self.root, "rauc").arg("--version"))?.trim().to_owned())
    }

    /// Returns the folder of the chroot.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a signed bundle in format `plain`, by RAUC's own mksquashfs call with its defaults.
    /// Returns its path. To install the other format, `verity`, RAUC needs the kernel's device
    /// mapper.
    pub(crate) fn bundle(&self, name: &str, images: &Images) -> Result<PathBuf> {
        let stage = self.root.join("bench").join(name);
        fs::create_dir_all(&stage)?;
        for (path, file) in [(&images.boot, "boot.img"), (&images.root, "root.img")] {
            if fs::hard_link(path, stage.join(file)).is_err() {
                fs::copy(path, stage.join(file))?;
            }
        }
        let manifest = "[update]\ncompatible=router\nversion=2.0.0\n[bundle]\nformat=plain\n\
                        [image.boot]\nfilename=boot.img\n[image.root]\nfilename=root.img\n";
        fs::write(stage.join("manifest.raucm"), manifest)?;
        let bundle = format!("/bench/{name}.raucb");
        process::run(chroot(&self.root, "rauc").args([
            "--cert=/bench/cert.pem",
            "--key=/bench/key.pem",
            "bundle",
            &format!("/bench/{name}"),
            &bundle,
        ]))?;
        fs::remove_dir_all(stage)?;
        Ok(self.root.join(&bundle[1..]))
    }

    /// Forgets the installs before, and sets the service's peak memory to its present memory.
    pub(crate) fn reset(&self) -> Result<()> {
        reset_environment(&self.root)?;
        // proc_pid_clear_refs(5): 5 resets the peak resident set size.
        fs::write(format!("/proc/{}/clear_refs", self.service.id()), "5")?;
        Ok(())
    }

    /// Installs a bundle. The time is that of the `rauc install` call. Memory and calls are those
    /// of the service, which does the work.
    pub(crate) fn install(&self, bundle: &Path) -> Result<Usage> {
        let before = Io::of(self.service.id())?;
        let inside = Path::new("/").join(bundle.strip_prefix(&self.root)?);
        let client = process::measure(chroot(&self.root, "rauc").arg("install").arg(inside));
        let client = client.with_context(|| self.last_words())?;
        Ok(Usage {
            cpu_seconds: 0.0,
            seconds: client.seconds,
            peak_bytes: process::memory(self.service.id(), "VmHWM")?,
            io: Io::of(self.service.id())?.since(before),
        })
    }

    /// Returns the end of the service's log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.root.join(&LOG[1..])).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(8).collect();
        format!("RAUC's service said: {}", lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
    }

    /// Returns the memory that the service has resident now, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        process::memory(self.service.id(), "VmRSS")
    }
}

impl Drop for Rauc {
    fn drop(&mut self) {
        for child in [&mut self.service, &mut self.bus] {
            // It is no error if the child has already ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn chroot(root: &Path, program: &str) -> Command {
    let mut command = process::command("chroot");
    command
        .arg(root)
        .arg(program)
        .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={BUS}"))
        .env_remove("TMPDIR");
    command
}

fn reset_environment(root: &Path) -> Result<()> {
    for path in [GRUBENV, STATUS] {
        let path = root.join(&path[1..]);
        if path.exists() {
            fs::remove_file(path)?;
        }
    }
    process::run(chroot(root, "grub-editenv").args([GRUBENV, "create"]))?;
    process::run(chroot(root, "grub-editenv").args([
        GRUBENV,
        "set",
        "ORDER=A B",
        "A_OK=1",
        "A_TRY=0",
    ]))?;
    Ok(())
}

fn system_conf() -> String {
    let mut text = format!(
        "[system]\ncompatible=router\nbootloader=grub\ngrubenv={GRUBENV}\nstatusfile={STATUS}\n\
         bundle-formats=plain verity\n[keyring]\npath=/bench/cert.pem\n"
    );
    for (index, slot, name) in [(0, "a", "A"), (1, "b", "B")] {
        text += &format!(
            "[slot.root.{index}]\ndevice={SLOTS}/root-{slot}\ntype=raw\nbootname={name}\n\
             [slot.boot.{index}]\ndevice={SLOTS}/boot-{slot}\ntype=raw\nparent=root.{index}\n"
        );
    }
    text
}

/// Calls `is_there` until it returns true, for at most half a minute.
pub(crate) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        if Instant::now() > deadline {
            bail!("{what} is not there after 30 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
