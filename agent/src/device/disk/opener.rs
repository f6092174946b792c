//! Opens partitions. The agent reads and writes every slot and the ESP through this type.
//!
//! `direct` goes past the page cache. The power-cut sweep gives an opener of its own, which can cut
//! the power.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use image_layout::{Disk, FileDisk};

use crate::device::disk::direct::DirectDisk;

/// An open partition.
pub type AnyDisk = Box<dyn Disk + Send + Sync>;

/// The purpose of opening a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading single bytes, through the page cache.
    Look,
    /// Reading whole sectors as they are on the disk. GRUB will read the same.
    Read,
    /// Reading and writing whole sectors, past the page cache.
    Write,
}

type Open = dyn Fn(&Path, Access) -> io::Result<AnyDisk> + Send + Sync;

/// Opens partitions: those of the machine, or those of a test that cuts their power.
#[derive(Clone)]
pub struct Opener(Arc<Open>);

impl Opener {
    /// Opens partitions with `open`.
    pub fn new(
        open: impl Fn(&Path, Access) -> io::Result<AnyDisk> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(open))
    }

    /// Opens the block device or file `path`.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(&self, path: &Path, access: Access) -> io::Result<AnyDisk> {
        (self.0)(path, access)
    }
}

impl Default for Opener {
    fn default() -> Self {
        Self::new(|path, access| {
            Ok(match access {
                Access::Look => Box::new(FileDisk::open_read_only(path)?),
                Access::Read => Box::new(DirectDisk::open(path, false)?),
                Access::Write => Box::new(DirectDisk::open(path, true)?),
            })
        })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}
