//! A partition that is written and read back past the page cache.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, OFlag, PosixFadviseAdvice, fcntl, posix_fadvise};
use nix::libc;

/// Bytes of one write; every write but the last of an image has this size and begins on a multiple of it.
pub(crate) const PIECE: usize = 1 << 20;
/// What `O_DIRECT` asks of addresses, offsets and lengths on any disk that GRUB can boot.
const ALIGNMENT: usize = 4096;

/// A buffer of [`PIECE`] bytes at an address that `O_DIRECT` takes.
#[derive(Debug)]
pub(crate) struct Piece {
    storage: Vec<u8>,
    start: usize,
}

impl Piece {
    pub(crate) fn new() -> Self {
        let storage = vec![0; PIECE + ALIGNMENT];
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        Self { storage, start }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + PIECE]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + PIECE]
    }
}

/// An open partition.
#[derive(Debug)]
pub(crate) struct SlotTarget {
    path: PathBuf,
    file: File,
    direct: AtomicBool,
}

impl SlotTarget {
    /// Opens `path` for writing and reading, with `O_DIRECT` where that exists.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let open = |flags| File::options().read(true).write(true).custom_flags(flags).open(path);
        let (file, direct) = match open(libc::O_DIRECT) {
            Ok(file) => (file, true),
            // Not every filesystem has it (a test's tmpfs); the page cache is then kept small by hand.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (open(0)?, false),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), file, direct: AtomicBool::new(direct) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` at `offset`; both are multiples of 4096, and `bytes` lies in a [`Piece`].
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.direct_or_not(|| self.file.write_all_at(bytes, offset))
    }

    /// Returns once everything written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes the next reads of `range` come from the disk.
    pub(crate) fn forget(&self, range: &Range<u64>) {
        if self.direct.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(start), Ok(length)) = (i64::try_from(range.start), i64::try_from(range.end - range.start))
        else {
            return;
        };
        // Advice only: a filesystem in memory has nowhere else to read from.
        let _ = posix_fadvise(self.file.as_fd(), start, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }

    /// Fills `bytes`, under the same conditions as [`SlotTarget::write`].
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.direct_or_not(|| self.file.read_exact_at(bytes, offset))
    }

    /// A few filesystems take the flag at open and refuse it at the first transfer.
    fn direct_or_not(&self, mut transfer: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        match transfer() {
            Err(error)
                if error.raw_os_error() == Some(libc::EINVAL) && self.direct.load(Ordering::Relaxed) =>
            {
                fcntl(&self.file, FcntlArg::F_SETFL(OFlag::empty()))?;
                self.direct.store(false, Ordering::Relaxed);
                transfer()
            }
            result => result,
        }
    }
}
