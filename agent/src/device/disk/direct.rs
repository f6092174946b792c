//! Reads and writes a partition past the page cache.
//!
//! `opener` decides which partitions are opened so. Where the filesystem has no `O_DIRECT`, this
//! file drops the cached pages itself.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use image_layout::{Disk, FileDisk};
use nix::fcntl::{FcntlArg, OFlag, PosixFadviseAdvice, fcntl, posix_fadvise};
use nix::libc;

/// A [`FileDisk`] with `O_DIRECT` where that exists. Addresses, offsets and lengths of all
/// transfers must be aligned to the disk's sectors.
#[derive(Debug)]
pub(crate) struct DirectDisk {
    disk: FileDisk,
    direct: AtomicBool,
}

impl DirectDisk {
    /// Opens `path` for reading, and for writing too if `write` is true.
    pub(crate) fn open(path: &Path, write: bool) -> io::Result<Self> {
        let open = |flags| File::options().read(true).write(write).custom_flags(flags).open(path);
        let (file, direct) = match open(libc::O_DIRECT) {
            Ok(file) => (file, true),
            // Some filesystems lack it, such as a test's tmpfs. Then the page cache is kept small
            // by hand.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (open(0)?, false),
            Err(error) => return Err(error),
        };
        Ok(Self { disk: FileDisk::from(file), direct: AtomicBool::new(direct) })
    }

    /// Does `transfer`. A few filesystems take the flag at open and refuse it at the first
    /// transfer: then drops the flag and does it again.
    fn direct_or_not(&self, mut transfer: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        match transfer() {
            Err(error)
                if error.raw_os_error() == Some(libc::EINVAL)
                    && self.direct.load(Ordering::Relaxed) =>
            {
                fcntl(self.disk.file(), FcntlArg::F_SETFL(OFlag::empty()))?;
                self.direct.store(false, Ordering::Relaxed);
                transfer()
            }
            result => result,
        }
    }
}

impl Disk for DirectDisk {
    fn size(&self) -> io::Result<u64> {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.direct_or_not(|| self.disk.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.direct_or_not(|| self.disk.write_at(buf, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn forget(&self, range: Range<u64>) {
        if self.direct.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(start), Ok(length)) =
            (i64::try_from(range.start), i64::try_from(range.end - range.start))
        else {
            return;
        };
        // This is only advice. A filesystem in memory has nowhere else to read from.
        let file = self.disk.file().as_fd();
        let _ = posix_fadvise(file, start, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}
