//! A QEMU machine with a serial console that a test reads and types on.
//!
//! `accel` decides if QEMU emulates. A test that drops the [`Vm`] pulls the power. Nothing is shut
//! down in order unless the test asks the guest for it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::accel::Accel;
use crate::tied;

/// The firmware that starts GRUB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firmware {
    /// SeaBIOS
    Bios,
    /// OVMF
    Uefi,
}

impl Firmware {
    /// Reads the environment variable `FIRMWARE` (`bios`, the default, or `uefi`).
    pub fn from_env() -> Result<Self> {
        match std::env::var("FIRMWARE").as_deref() {
            Err(_) | Ok("" | "bios") => Ok(Self::Bios),
            Ok("uefi") => Ok(Self::Uefi),
            Ok(other) => bail!("FIRMWARE={other}: it is bios or uefi"),
        }
    }
}

/// The amount of memory of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// For the test system.
    Tiny,
    /// For the real Debian.
    Router,
    /// For a cluster or a desktop.
    Large,
}

impl Size {
    /// Returns the memory in MiB, as QEMU wants it. All machines have one processor, because two
    /// tests run side by side. On two emulated processors OVMF was seen to hang after a reset.
    /// Linux was seen to trip over its own code that it had just patched (int3 in
    /// `sched_clock_cpu`).
    fn memory(self) -> &'static str {
        match self {
            Self::Tiny => "512",
            Self::Router => "768",
            Self::Large => "2048",
        }
    }
}

/// Options for [`Vm::start_with`]. The guest reaches this machine's loopback as 10.0.2.2.
pub const HOST_NETWORK: [&str; 2] = ["-netdev", "user,id=net0"];

/// Options for [`Vm::start_with`]: what a hypervisor gives the guest, so that a test can work in a
/// system in which nobody has put a key. It is a shell on the serial console
/// (systemd.system-credentials(7), agetty(8)).
pub const SHELL: [&str; 6] = [
    "-smbios",
    "type=11,value=io.systemd.credential:getty.ttys.serial=ttyS0",
    "-smbios",
    "type=11,value=io.systemd.credential:agetty.autologin=root",
    "-smbios",
    "type=11,value=io.systemd.credential:login.noauth=yes",
];

/// The parts of a machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The system disk. The guest writes to it.
    pub disk: PathBuf,
    /// Format of `disk` as QEMU names it.
    pub format: &'static str,
    /// A second, read-only disk: `/dev/vdb`.
    pub data: Option<PathBuf>,
    /// Firmware.
    pub firmware: Firmware,
    /// The amount of memory.
    pub size: Size,
    /// A file to which the guest's output on its serial port is appended.
    pub log: PathBuf,
}

impl Machine {
    /// Returns QEMU's `-drive` of the system disk.
    #[must_use]
    pub fn drive(&self) -> String {
        format!("file={},if=virtio,format={},cache=writeback", self.disk.display(), self.format)
    }
}

/// A running machine.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    stdin: ChildStdin,
    serial: Receiver<Vec<u8>>,
    /// Text that was received and that [`Vm::expect`] has not yet consumed.
    pending: String,
    log: PathBuf,
    marker: u32,
    started: Instant,
}

/// The result of a command in the guest.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status.
    pub status: i32,
    /// stdout and stderr as the terminal showed them, without carriage returns.
    pub text: String,
}

impl Output {
    /// Returns the text if the command exited with 0.
    pub fn success(self) -> Result<String> {
        ensure!(self.status == 0, "exit status {}: {}", self.status, self.text.trim());
        Ok(self.text)
    }
}

impl Vm {
    /// Powers the machine on.
    pub fn start(machine: &Machine) -> Result<Self> {
        Self::start_with(machine, &machine.drive(), &[])
    }

    /// As [`Vm::start`], with another `-drive` for the system disk, and with more of QEMU's
    /// options.
    pub fn start_with(machine: &Machine, drive: &str, options: &[&str]) -> Result<Self> {
        Self::start_on(Accel::of_this_machine()?, machine, drive, options)
    }

    /// As [`Vm::start_with`], on the given accelerator.
    pub(crate) fn start_on(
        accel: Accel,
        machine: &Machine,
        drive: &str,
        options: &[&str],
    ) -> Result<Self> {
        let mut command = tied::command("qemu-system-x86_64");
        command.args(accel.options()).args(["-M", "q35", "-nodefaults"]);
        command.args([
            "-m",
            machine.size.memory(),
            "-smp",
            "1",
            "-display",
            "none",
            "-serial",
            "stdio",
        ]);
        // The watchdog resets the guest, as on a real board.
        command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        command.args(["-device", "virtio-rng-pci"]);
        // The network card's cable leads nowhere, unless the options bring another one.
        if !options.iter().any(|option| option.starts_with(HOST_NETWORK[1])) {
            command.args(["-netdev", "user,id=net0,restrict=on"]);
        }
        command.args(["-device", "virtio-net-pci,netdev=net0"]);
        command.args(["-drive", drive]).args(options);
        if let Some(data) = &machine.data {
            command
                .arg("-drive")
                .arg(format!("file={},if=virtio,format=raw,readonly=on", data.display()));
        }
        if machine.firmware == Firmware::Uefi {
            let vars = machine.disk.with_extension("vars");
            if !vars.exists() {
                std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars)
                    .context("copying OVMF's variable store (package ovmf)")?;
            }
            command.args([
                "-drive",
                "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
            ]);
            command.arg("-drive").arg(format!("if=pflash,format=raw,file={}", vars.display()));
        }
        Self::of_command(command, &machine.log)
    }

    /// Runs a command whose terminal is the console of a machine. `log`: as in [`Machine`].
    ///
    /// # Errors
    /// The command does not start.
    pub fn of_command(mut command: Command, log: &Path) -> Result<Self> {
        let path = log;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut log = File::options().create(true).append(true).open(path)?;
        command.stderr(log.try_clone()?);
        let mut child = tied::spawn(command)?;
        let stdin = child.stdin.take().context("QEMU's stdin")?;
        let mut stdout = child.stdout.take().context("QEMU's stdout")?;
        let (sender, serial) = channel();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n) = stdout.read(&mut buf) {
                if n == 0
                    || log.write_all(&buf[..n]).is_err()
                    || sender.send(buf[..n].to_vec()).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            stdin,
            serial,
            pending: String::new(),
            log: path.to_owned(),
            marker: 0,
            started: Instant::now(),
        })
    }

    /// Returns the seconds since power-on.
    #[must_use]
    pub fn uptime(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Waits until the console shows one of `wanted`. Returns its index and the text up to its end.
    ///
    /// # Errors
    /// The machine stops, or `timeout_s` pass. The message ends with the console's last lines.
    pub fn expect_any(&mut self, wanted: &[&str], timeout_s: u64) -> Result<(usize, String)> {
        let deadline = Instant::now() + Duration::from_secs(timeout_s);
        loop {
            let first = wanted
                .iter()
                .enumerate()
                .filter_map(|(index, text)| {
                    self.pending.find(text).map(|at| (at + text.len(), index))
                })
                .min();
            if let Some((end, index)) = first {
                let rest = self.pending.split_off(end);
                return Ok((index, std::mem::replace(&mut self.pending, rest)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.serial.recv_timeout(left) {
                Ok(bytes) => self
                    .pending
                    .extend(String::from_utf8_lossy(&bytes).chars().filter(|&c| c != '\r')),
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "{wanted:?} not seen on the console within {timeout_s} s; {}",
                        self.tail()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("QEMU ended before {wanted:?} was seen; {}", self.tail())
                }
            }
        }
    }

    /// Waits until the console has shown all of `wanted`, in any order.
    pub fn expect_all(&mut self, wanted: &[&str], timeout_s: u64) -> Result<()> {
        let mut left = wanted.to_vec();
        while !left.is_empty() {
            let (index, _) = self.expect_any(&left, timeout_s)?;
            left.remove(index);
        }
        Ok(())
    }

    /// Waits until the console shows `wanted`. Returns the text up to its end.
    pub fn expect(&mut self, wanted: &str, timeout_s: u64) -> Result<String> {
        Ok(self.expect_any(&[wanted], timeout_s)?.1)
    }

    fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text =
            String::from_utf8_lossy(&text[text.len().saturating_sub(3000)..]).replace('\r', "");
        format!("the end of {}:\n{text}", self.log.display())
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.stdin
            .write_all(format!("{line}\n").as_bytes())
            .context("typing on the guest's console")
    }

    /// Types characters without a line end.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.stdin.write_all(text.as_bytes()).context("typing on the guest's console")
    }

    /// Runs `command` in the root shell on the console.
    pub fn run(&mut self, command: &str, timeout_s: u64) -> Result<Output> {
        self.marker += 1;
        let marker = self.marker;
        // The console echoes the typed line. The quotes keep the echo from looking like the answer.
        self.type_line(&format!("echo '<'{marker}; {command}; echo '>'{marker}:$?:"))?;
        self.expect(&format!("<{marker}\n"), timeout_s)?;
        let text = self.expect(&format!(">{marker}:"), timeout_s)?;
        let status = self.expect(":", 10)?;
        let status =
            status.trim_end_matches(':').parse().with_context(|| format!("status {status:?}"))?;
        let text = text.trim_end_matches(&format!(">{marker}:")).to_owned();
        Ok(Output { status, text })
    }

    /// Runs a command that prints JSON. The agent's lines for the console may come between the
    /// lines of the answer; they are left out.
    ///
    /// # Errors
    /// The command fails, or prints something else.
    pub fn json(&mut self, command: &str, timeout_s: u64) -> Result<serde_json::Value> {
        let text = self.run(command, timeout_s)?.success()?;
        // A line of JSON begins with a bracket only if that is all of it.
        let of_console = |line: &&str| line.starts_with("[ ") && line.contains("]: ");
        let lines: Vec<&str> = text.lines().filter(|line| !of_console(line)).collect();
        serde_json::from_str(lines.join("\n").trim())
            .with_context(|| format!("{command} printed {text}"))
    }

    /// Pulls the plug with SIGKILL. The guest flushes nothing.
    pub fn cut_power(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // An error only means that QEMU has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes an ext4 image with the given files in its root. It hands bundles to a guest.
pub fn data_disk(out: &Path, files: &[(&str, &Path)]) -> Result<()> {
    let staging = tempfile::tempdir()?;
    let mut bytes = 8 << 20;
    for (name, path) in files {
        let target = staging.path().join(name);
        // A hard link is enough if it works. A bundle has tens of MB.
        if std::fs::hard_link(path, &target).is_err() {
            std::fs::copy(path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
        bytes += std::fs::metadata(path)?.len() * 11 / 10;
    }
    let part = out.with_extension("part");
    let _ = std::fs::remove_file(&part);
    let status = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
        .arg(staging.path())
        .arg(&part)
        .arg(format!("{}k", bytes.div_ceil(1024)))
        // The program names every file in spite of -q.
        .stdout(Stdio::null())
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .status()
        .context("starting mke2fs (package e2fsprogs)")?;
    ensure!(status.success(), "mke2fs {}: {status}", part.display());
    std::fs::rename(&part, out)?;
    Ok(())
}

/// Makes a copy-on-write disk over `base` (raw), so that each test has its own disk.
pub fn overlay_disk(base: &Path, out: &Path) -> Result<()> {
    let status = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(base)
        .arg(out)
        .status()
        .context("starting qemu-img (package qemu-utils)")?;
    ensure!(status.success(), "qemu-img create {}: {status}", out.display());
    Ok(())
}
