//! Row 4: measures the time from the start of the kernel to the real init, with our initramfs and
//! with initramfs-tools' initrd.
//!
//! `sample` takes the median and `table` prints it. QEMU loads kernel and initramfs itself, so the
//! figure has no firmware and no GRUB.
//!
//! Both start the same kernel on the same disk, the settled factory image. Both end in `/bin/sh` of
//! the same root image, which prints how long the kernel has been up.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bundle::StoredSquashfs;
use grub_env::BOOTED;
use image_layout::{Disk, FileDisk, PartitionTable, Slot};
use tests::trial_disk;
use tests::vm::overlay_disk;

use crate::process;
use crate::sample::{Sample, in_turns};
use crate::table::{Row, Target};

/// Number of boots of each of them.
const ROUNDS: usize = 5;
/// Seconds until a boot counts as failed. QEMU emulates, and the machine may be busy.
const BOOT: u64 = 240;
/// Start of the line that the program in place of the real init prints. The seconds follow.
const ARRIVED: &str = "bench: real init after ";

/// The files and arguments that slot A of a factory image boots with.
#[derive(Debug)]
pub(crate) struct BootFiles {
    disk: PathBuf,
    kernel: PathBuf,
    ours: PathBuf,
    /// The dm-verity root hash, salt and number of blocks, from slot.cfg.
    verity: String,
    /// The recipe's kernel arguments, from slot.cfg.
    args: String,
}

/// The argument of Daruma's recipes that changes the kernel's own time. The second row of times
/// gives it to both.
const NO_SELF_TESTS: &str = "cryptomgr.notests=1";

/// The clock of the machine in QEMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clock {
    /// QEMU runs as fast as it can, on one processor. The kernel's clock is the host's.
    Wall,
    /// QEMU has one processor. Its clock moves 1 ns with each instruction and jumps over idle
    /// times. Other work of the host changes nothing.
    Instructions,
}

/// The kernel's times when the real init ran, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Since the kernel's start.
    pub(crate) up: f64,
    /// That the processor worked for daruma-init or for the kernel in its place
    /// (`Documentation/scheduler/sched-stats.rst`), without waiting for the disk or a timer.
    pub(crate) init: f64,
}

impl Clock {
    /// With `erms`, Linux clears a page by one instruction for each byte, as QEMU counts it. A real
    /// processor does 32 bytes and more in a cycle. Without it, QEMU counts one for 8 bytes.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Wall => &["-accel", "tcg", "-cpu", "max", "-smp", "1"],
            Self::Instructions => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                "max,-erms,-fsrm",
                "-smp",
                "1",
            ],
        }
    }
}

impl BootFiles {
    /// Takes kernel and initramfs out of a slot of the raw image `disk`.
    pub(crate) fn of(disk: &Path, slot: Slot, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let raw = FileDisk::open_read_only(disk)?;
        let table = PartitionTable::read(&raw)?;
        let label = slot.boot_label();
        let slot = table.find(label).with_context(|| format!("no partition {label}"))?;
        let image = dir.join("boot.img");
        copy_range(&raw, slot.offset, slot.size, &image)?;
        let image = FileDisk::open_read_only(&image)?;
        let files = StoredSquashfs::list(&image)?;
        let take = |name: &str| -> Result<PathBuf> {
            let file = files.iter().find(|file| file.name.as_str() == name);
            let file = file.with_context(|| format!("no {name} in the boot image"))?;
            let path = dir.join(name);
            copy_range(&image, file.offset, file.size, &path)?;
            Ok(path)
        };
        let slot_cfg = String::from_utf8(StoredSquashfs::read_file(&image, "slot.cfg")?)?;
        let variable = |name: &str| -> Result<String> {
            let value =
                slot_cfg.lines().find_map(|line| line.strip_prefix(&format!("set {name}=")));
            Ok(value
                .with_context(|| format!("no {name} in slot.cfg"))?
                .trim_matches('"')
                .to_owned())
        };
        let (verity, args) = (variable("daruma_verity")?, variable("daruma_args")?);
        ensure!(args.contains(NO_SELF_TESTS), "the recipe has lost {NO_SELF_TESTS}: {args}");
        Ok(Self {
            disk: disk.to_owned(),
            kernel: take("vmlinuz")?,
            ours: take("initrd")?,
            verity,
            args,
        })
    }

    /// Returns the rows for the size of our initramfs and for the time to the real init. The peer
    /// is Debian's initrd from the root filesystem `peer`.
    pub(crate) fn rows(&self, peer: &Path, dir: &Path) -> Result<Vec<Row>> {
        let theirs = self.debian_initrd(peer, dir)?;
        let size = |path: &Path| fs::metadata(path).map(|metadata| metadata.len());
        let mut rows = vec![Row::sizes(
            "initramfs",
            size(&self.ours)?,
            "initramfs-tools",
            Some(size(&theirs)?),
            Target::Mib(2.6),
        )];
        // GRUB would have left this variable. daruma-init knows the disk by it.
        let counted = dir.join("counted.raw");
        trial_disk::copy(&self.disk, &counted)?;
        trial_disk::change_environment(&counted, |env| Ok(env.set(BOOTED, "bench")?))?;
        // The first boot fills and grows /var. That happens once in a device's life, so it is not
        // measured.
        let settled = dir.join("settled.qcow2");
        overlay_disk(&counted, &settled)?;
        let daruma = self.daruma(Slot::A);
        self.start((Slot::A, ""), &settled, "mount -o remount,ro /var; sync", Clock::Wall, &[])?;
        // Debian boots with `quiet`. The consoles are those of the recipe.
        let debian = "quiet console=tty0 console=ttyS0,115200 root=PARTLABEL=root-a \
            rootfstype=squashfs ro init=/bin/sh";
        let debian_too = format!("{NO_SELF_TESTS} {debian}");
        let boots =
            [(&self.ours, daruma.as_str()), (&theirs, debian), (&theirs, debian_too.as_str())];
        let samples: Vec<Sample> = in_turns(ROUNDS, boots.len(), |index| {
            let (initrd, args) = boots[index];
            Ok(self.boot(&settled, initrd, args, "true", Clock::Wall, &["-snapshot"])?.up)
        })?
        .into_iter()
        .map(|values| {
            let mut sample = Sample::default();
            values.into_iter().for_each(|value| sample.push(value));
            sample
        })
        .collect();
        let row = |what: &str, theirs: &Sample, target| Row {
            what: what.to_owned(),
            ours: samples[0].to_string(),
            peer: "initramfs-tools".to_owned(),
            theirs: theirs.to_string(),
            ratio: Some(samples[0].median() / theirs.median()),
            target,
            mib: 0.0,
        };
        rows.push(row(
            "kernel start to real init (QEMU, TCG)",
            &samples[1],
            Target::Ratio(1.0 / 3.0),
        ));
        rows.push(row("the same, neither tests its ciphers", &samples[2], Target::None));
        let counted = |(initrd, args): (&PathBuf, &str)| {
            let clock = Clock::Instructions;
            self.boot(&settled, initrd, args, "true", clock, &["-snapshot"]).map(|times| times.up)
        };
        let (ours, debian) = (counted(boots[0])?, counted(boots[1])?);
        rows.push(Row {
            what: "the same, by instructions (-icount)".to_owned(),
            ours: format!("{ours:.2} s"),
            peer: "initramfs-tools".to_owned(),
            theirs: format!("{debian:.2} s"),
            ratio: Some(ours / debian),
            target: Target::Ratio(1.0 / 3.0),
            mib: 0.0,
        });
        Ok(rows)
    }

    /// Returns Debian's initrd, from a tar of a root filesystem with the same kernel.
    fn debian_initrd(&self, tar: &Path, dir: &Path) -> Result<PathBuf> {
        process::run(process::command("tar").arg("-xf").arg(tar).arg("-C").arg(dir).arg("./boot"))?;
        let find = |prefix: &str| -> Result<PathBuf> {
            let entries = fs::read_dir(dir.join("boot"))?.collect::<std::io::Result<Vec<_>>>()?;
            let entry = entries
                .iter()
                .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
            Ok(entry.with_context(|| format!("no {prefix}* in {}", tar.display()))?.path())
        };
        ensure!(
            fs::read(find("vmlinuz-")?)? == fs::read(&self.kernel)?,
            "the router and initramfs-tools.yaml do not have the same kernel; their recipes must \
                name the same suites"
        );
        find("initrd.img-")
    }

    /// Returns the kernel arguments of Daruma's own boot.
    fn daruma(&self, slot: Slot) -> String {
        format!(
            "daruma.slot={slot} daruma.try=1 daruma.booted=bench daruma.verity={} {} \
                daruma.init=/bin/sh",
            self.verity, self.args
        )
    }

    /// Boots Daruma from `slot` of `disk`, as [`BootFiles::boot`] does. `more` are more arguments
    /// of the kernel.
    pub(crate) fn start(
        &self,
        (slot, more): (Slot, &str),
        disk: &Path,
        then: &str,
        clock: Clock,
        qemu: &[&str],
    ) -> Result<Times> {
        self.boot(disk, &self.ours, &(self.daruma(slot) + more), then, clock, qemu)
    }

    /// Boots. Returns the kernel's times when the real init ran. Ends when the real init has run
    /// `then`.
    fn boot(
        &self,
        disk: &Path,
        initrd: &Path,
        args: &str,
        then: &str,
        clock: Clock,
        qemu: &[&str],
    ) -> Result<Times> {
        let script = format!(
            "read up rest < /proc/uptime; read ran rest < /proc/1/schedstat; \
                echo {ARRIVED}$up $ran; {then}; echo bench: done; exec cat"
        );
        let mut command = Command::new("qemu-system-x86_64");
        command.args(clock.options()).args(["-M", "q35", "-m", "768"]);
        command.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]);
        command.args(["-device", "i6300esb", "-device", "virtio-rng-pci"]).args(qemu);
        command.arg("-drive").arg(format!("file={},if=virtio,format=qcow2", disk.display()));
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(initrd);
        command.arg("-append").arg(format!("panic=5 {args} -- -c \"{script}\""));
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let child = child.context("starting qemu-system-x86_64 (package qemu-system-x86)")?;
        let text = Machine(child).console_until("bench: done\r\n")?;
        let times = text.split(ARRIVED).nth(1).and_then(|rest| {
            let mut words = rest.split_whitespace().map(|word| word.parse::<f64>().ok());
            let (up, ran) = (words.next()??, words.next()??);
            Some(Times { up, init: ran / 1e9 })
        });
        times.with_context(|| format!("the console shows no uptime:\n{text}"))
    }
}

/// A QEMU that is killed when this value is dropped.
struct Machine(Child);

impl Machine {
    fn console_until(&mut self, wanted: &str) -> Result<String> {
        let mut stdout = self.0.stdout.take().context("QEMU's stdout")?;
        let (sender, console) = channel();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut buf) {
                if sender.send(buf[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(BOOT);
        let mut text = String::new();
        while !text.contains(wanted) {
            match console.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => text += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{wanted:?} not seen in {BOOT} s; the console:\n{text}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("QEMU ended before {wanted:?}; the console:\n{text}")
                }
            }
        }
        Ok(text)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It is no error if QEMU has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn copy_range(disk: &impl Disk, offset: u64, size: u64, out: &Path) -> Result<()> {
    let mut file = File::create(out).with_context(|| format!("creating {}", out.display()))?;
    let mut buf = vec![0; 1 << 20];
    let mut done = 0;
    while done < size {
        let piece = buf.len().min(usize::try_from(size - done)?);
        disk.read_at(&mut buf[..piece], offset + done)?;
        std::io::Write::write_all(&mut file, &buf[..piece])?;
        done += piece as u64;
    }
    Ok(())
}
