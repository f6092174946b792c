//! An image inside a bundle, as a disk of its own.
//!
//! The manifest says where the image lies. The disk is read-only.

use std::io;

use image_layout::{Disk, FileDisk};

/// Part of a file.
#[derive(Debug)]
pub struct Part {
    disk: FileDisk,
    start: u64,
    size: u64,
}

impl Part {
    /// Returns the `size` bytes of `disk` from `start`.
    #[must_use]
    pub fn new(disk: FileDisk, start: u64, size: u64) -> Self {
        Self { disk, start, size }
    }
}

impl Disk for Part {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.disk.read_at(buf, self.start + offset)
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
