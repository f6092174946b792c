//! The seam between Daruma's code and the bytes of a device.
//!
//! The callers know what the bytes mean. The power-cut simulator is the second implementation.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

/// The bytes of a device, or of a file that stands for one.
///
/// This is the only seam for tests. The power-cut simulator is a second implementation that keeps
/// live and durable bytes apart. A write is durable after the next [`Disk::sync`] that returns
/// `Ok`.
pub trait Disk {
    /// Size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buf` from `offset`, or fails.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf` at `offset`, or fails.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Returns once everything written so far is on stable storage.
    fn sync(&self) -> io::Result<()>;
    /// Makes the next reads of `range` come from the medium and not from a cache, as far as that is
    /// possible. This is only advice: a disk without a cache does nothing.
    fn forget(&self, _range: Range<u64>) {}
}

impl<D: Disk + ?Sized> Disk for Box<D> {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }

    fn forget(&self, range: Range<u64>) {
        (**self).forget(range);
    }
}

/// A block device or a regular file.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
}

impl FileDisk {
    /// Opens the file for reading and writing.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::options().read(true).write(true).open(path)? })
    }

    /// Opens the file for reading only; writes fail.
    pub fn open_read_only(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)? })
    }

    /// Returns the open file, for calls that need a file descriptor (`O_DIRECT`, ioctls).
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl From<File> for FileDisk {
    fn from(file: File) -> Self {
        Self { file }
    }
}

impl Disk for FileDisk {
    fn size(&self) -> io::Result<u64> {
        let metadata = self.file.metadata()?;
        if metadata.file_type().is_block_device() {
            // A block device has no length in its metadata, so the end of a seek is its size.
            use std::io::{Seek, SeekFrom};
            return (&self.file).seek(SeekFrom::End(0));
        }
        Ok(metadata.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
