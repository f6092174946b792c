//! Kills an install with SIGKILL before each of its operations.
//!
//! `judge` judges what is left. The device has real files, and the install is a process that kills
//! itself.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent::{Access, Config, Device, InstallOptions, Interrupt, Opener};
use anyhow::{Context, Result, bail, ensure};
use image_layout::{Disk, FileDisk};
use nix::sys::signal::{Signal, raise};

use crate::Bench;
use crate::content::{Content, LABELS};
use crate::judge::Case;
use crate::scenario;
use crate::system::Which;

/// The argument that makes this program the child.
pub(crate) const CHILD: &str = "killed-install";

/// Kills the install before each operation in turn. Returns false if no kill happened; a device
/// that did not survive is an error.
pub(crate) fn run(bench: &Bench, out: &mut impl Write) -> Result<bool> {
    let judge = bench.judge()?;
    let scenario = scenario::install_over_an_older_system();
    let before = scenario.medium(judge.systems, &judge.grub)?;
    let bundle = &judge.systems.get(Which::Update).bundle;
    let folder = judge.folder.path();
    let mut kills = 0;
    loop {
        for (label, content) in LABELS.into_iter().zip(&before.partitions) {
            std::fs::write(folder.join(label), content.bytes())?;
        }
        std::fs::write(folder.join("cmdline"), "daruma.slot=A daruma.try=1")?;
        let mut child = Command::new(std::env::current_exe()?);
        child.arg(CHILD).args([folder, bundle]).arg(kills.to_string());
        let ended = child.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
        let mut after = before.clone();
        for (label, content) in LABELS.into_iter().zip(&mut after.partitions) {
            *content = Content::new(&std::fs::read(folder.join(label))?, content.len());
        }
        let story = std::fs::read(folder.join("var/lib/daruma/state.json")).ok().map(Into::into);
        let case = Case { scenario: &scenario, medium: &after, story: &story };
        for verdict in judge.judge(&[case])? {
            verdict.with_context(|| format!("killed at operation {kills}"))?;
        }
        if ended.status.success() {
            break;
        }
        let stderr = String::from_utf8_lossy(&ended.stderr);
        ensure!(
            ended.status.signal() == Some(Signal::SIGKILL as i32),
            "{}: {stderr}",
            ended.status
        );
        kills += 1;
    }
    writeln!(
        out,
        "\nSIGKILL before each of the {kills} operations of an install: each device survives"
    )?;
    Ok(kills > 0)
}

/// The child: installs `BUNDLE` into the device in `FOLDER`, and kills itself before operation
/// number `AT`.
pub(crate) fn child(mut words: impl Iterator<Item = String>) -> Result<bool> {
    let (Some(folder), Some(bundle), Some(at)) = (words.next(), words.next(), words.next()) else {
        bail!("{CHILD} FOLDER BUNDLE AT");
    };
    let left = Arc::new(AtomicUsize::new(at.parse()?));
    let opener = Opener::new(move |path, access| {
        let write = access == Access::Write;
        let disk = if write { FileDisk::open(path)? } else { FileDisk::open_read_only(path)? };
        Ok(Box::new(Deadly { disk, left: Arc::clone(&left) }))
    });
    let device = Device::at(Path::new(&folder)).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let interrupt = Interrupt::never();
    let (config, options) = (Config::default(), InstallOptions::default());
    agent::install(&device.with_opener(opener), &config, Path::new(&bundle), options, &interrupt)
        .map_err(|failure| anyhow::anyhow!("{failure}"))?;
    Ok(true)
}

/// A file that kills its process before an operation when `left` is 0.
struct Deadly {
    disk: FileDisk,
    left: Arc<AtomicUsize>,
}

impl Deadly {
    fn operation(&self) -> io::Result<()> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            raise(Signal::SIGKILL)?;
        }
        Ok(())
    }
}

impl Disk for Deadly {
    fn size(&self) -> io::Result<u64> {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.operation()?;
        self.disk.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.operation()?;
        self.disk.sync()
    }
}
