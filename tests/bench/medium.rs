//! A slow medium: QEMU's storage daemon serves files through FUSE at the speed of an eMMC chip.
//!
//! `slots` puts the partitions on it. On a fast disk the processor limits an install, but a
//! router's flash is slower than its hashing.
//!
//! Reads and writes have a limit each. Unlike on a real chip, they do not slow each other down.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use crate::process;
use crate::rauc::wait_for;

/// The speed of a medium, bytes per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Speed {
    pub(crate) write: u64,
    pub(crate) read: u64,
}

/// The eMMC of a cheap router, the eMMC 5.1 of a good one, and a SATA SSD.
pub(crate) const SPEEDS: [Speed; 3] = [
    Speed { write: 100_000_000, read: 250_000_000 },
    Speed { write: 200_000_000, read: 400_000_000 },
    Speed { write: 400_000_000, read: 500_000_000 },
];

/// The daemon. The files are gone when it is dropped.
#[derive(Debug)]
pub(crate) struct SlowMedium(Child);

impl SlowMedium {
    /// Serves each file of `files` as `FILE.slow`. All share one limit. Returns the paths.
    pub(crate) fn start(files: &[PathBuf], speed: Speed) -> Result<(Self, Vec<PathBuf>)> {
        let Speed { write, read } = speed;
        let mut command = process::command("qemu-storage-daemon");
        command.args([
            "--object",
            &format!("throttle-group,id=chip,x-bps-read={read},x-bps-write={write}"),
        ]);
        let mut served = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let point = file.with_extension("slow");
            File::create(&point)?;
            let (file, mountpoint) = (file.display(), point.display());
            for (option, value) in [
                (
                    "--blockdev",
                    format!("driver=file,filename={file},node-name=file{index},cache.direct=on"),
                ),
                (
                    "--blockdev",
                    format!(
                        "driver=throttle,node-name=slow{index},throttle-group=chip,file=file{index}"
                    ),
                ),
                (
                    "--export",
                    format!(
                        "type=fuse,id=fuse{index},node-name=slow{index},mountpoint={mountpoint},\
                         writable=on"
                    ),
                ),
            ] {
                command.args([option, &value]);
            }
            served.push(point);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let this =
            Self(child.context("starting qemu-storage-daemon (package qemu-system-common)")?);
        wait_for("the slow medium", || served.iter().all(|point| is_mounted(point)))?;
        Ok((this, served))
    }
}

impl Drop for SlowMedium {
    fn drop(&mut self) {
        // It is no error if the daemon has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_mounted(point: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|path| Path::new(path) == point))
}
