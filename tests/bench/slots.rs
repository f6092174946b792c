//! The partitions that all contenders write to.
//!
//! `medium` makes them slow. As root they are loop devices over files; otherwise they are the
//! files.
//!
//! Loop devices are opened past the page cache (`--direct-io`), as the partitions of a disk are.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::medium::{SlowMedium, Speed};
use crate::process;

/// The kinds of partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Files.
    Files,
    /// Loop devices over files.
    Loops,
    /// Files on a [`SlowMedium`]. (Loop devices over such files lose direct writes.)
    Slow(Speed),
}

/// A folder with one entry per partition, named by its label.
#[derive(Debug)]
pub(crate) struct Slots {
    dir: PathBuf,
    /// Handles on the loop devices. Each device is already detached, and goes away with its last
    /// handle.
    _loops: Vec<File>,
    _medium: Option<SlowMedium>,
}

impl Slots {
    /// Makes partitions of the given labels and sizes (bytes) in the folder `dir`, which exists.
    ///
    /// The partitions are full of zeros. Every block is written once, so that the first measured
    /// run need not find room for it.
    pub(crate) fn make(dir: &Path, sizes: &[(&str, u64)], kind: Kind) -> Result<Self> {
        let mut files = Vec::new();
        for (label, size) in sizes {
            let file = dir.join(if kind == Kind::Files {
                (*label).to_owned()
            } else {
                format!("{label}.backing")
            });
            let mut out =
                File::create(&file).with_context(|| format!("creating {}", file.display()))?;
            fill(&mut out, *size)?;
            files.push(file);
        }
        let mut medium = None;
        if let Kind::Slow(speed) = kind {
            let (daemon, served) = SlowMedium::start(&files, speed)?;
            for (file, (label, _)) in served.iter().zip(sizes) {
                symlink(file, dir.join(label))?;
            }
            medium = Some(daemon);
        }
        let mut loops = Vec::new();
        if kind == Kind::Loops {
            for (file, (label, _)) in files.iter().zip(sizes) {
                let mut losetup = process::command("losetup");
                let device =
                    process::run(losetup.args(["--find", "--show", "--direct-io=on"]).arg(file))?;
                let device = device.trim();
                loops.push(File::open(device).with_context(|| format!("opening {device}"))?);
                process::run(process::command("losetup").args(["--detach", device]))?;
                symlink(device, dir.join(label))?;
            }
        }
        Ok(Self { dir: dir.to_owned(), _loops: loops, _medium: medium })
    }

    /// Returns the folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the device or file of a partition.
    pub(crate) fn path(&self, label: &str) -> Result<PathBuf> {
        let path = self.dir.join(label);
        path.canonicalize().with_context(|| format!("finding {}", path.display()))
    }

    /// Overwrites the first `len` bytes with zeros, so that a run cannot find its work done.
    pub(crate) fn clear(&self, label: &str, len: u64) -> Result<()> {
        let path = self.path(label)?;
        let mut file = File::options().write(true).open(&path)?;
        fill(&mut file, len).with_context(|| format!("clearing {}", path.display()))
    }

    /// Copies `len` bytes of `from`, starting at `offset`, to the start of a partition.
    pub(crate) fn load(&self, label: &str, from: &Path, offset: u64, len: u64) -> Result<()> {
        let path = self.path(label)?;
        let mut source = File::open(from)?;
        source.seek(SeekFrom::Start(offset))?;
        let mut file = File::options().write(true).open(&path)?;
        std::io::copy(&mut source.take(len), &mut file)
            .with_context(|| format!("filling {}", path.display()))?;
        file.sync_all()?;
        Ok(())
    }
}

fn fill(file: &mut File, mut len: u64) -> Result<()> {
    let zeros = vec![0; 1 << 20];
    while len > 0 {
        let piece = len.min(zeros.len() as u64);
        file.write_all(&zeros[..piece as usize])?;
        len -= piece;
    }
    file.sync_all()?;
    Ok(())
}

/// Brings the page cache to the same state before every run.
///
/// Nothing is dirty, and as root nothing is cached. Then `source` is read once if the run should
/// find it in the cache.
pub(crate) fn settle(drop_caches: bool, source: Option<&[&Path]>) -> Result<()> {
    nix::unistd::sync();
    if drop_caches {
        fs::write("/proc/sys/vm/drop_caches", "3").context("dropping the page cache")?;
    }
    for path in source.unwrap_or_default() {
        std::io::copy(&mut File::open(path)?, &mut std::io::sink())?;
    }
    Ok(())
}
