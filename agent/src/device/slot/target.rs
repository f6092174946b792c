//! A partition that an install writes and reads back, and the buffers for this.
//!
//! `install` decides what is written, and in which order. All buffers are aligned as `O_DIRECT`
//! needs it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use image_layout::Disk;

use crate::device::disk::opener::AnyDisk;

/// Most bytes of one write. From a file, every write but the last of an image has this size and
/// begins on a multiple of it.
pub(crate) const PIECE: usize = 1 << 20;
/// The alignment that `O_DIRECT` needs of addresses, offsets and lengths, on every disk that GRUB
/// can boot.
pub(crate) const ALIGNMENT: usize = 4096;

/// A buffer, most often of [`PIECE`] bytes, at an address that `O_DIRECT` takes.
#[derive(Debug)]
pub(crate) struct Piece {
    storage: Vec<u8>,
    start: usize,
    length: usize,
}

impl Piece {
    pub(crate) fn new() -> Self {
        Self::with_room(PIECE)
    }

    /// Returns a buffer of `length` bytes.
    pub(crate) fn with_room(length: usize) -> Self {
        let storage = vec![0; length + ALIGNMENT];
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        Self { storage, start, length }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.length]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.length]
    }
}

/// An open partition.
pub(crate) struct SlotTarget {
    path: PathBuf,
    disk: AnyDisk,
}

impl SlotTarget {
    /// Returns the partition `path`, which was opened as `disk`.
    pub(crate) fn new(path: &Path, disk: AnyDisk) -> Self {
        Self { path: path.to_owned(), disk }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` at `offset`; both are multiples of 4096, and `bytes` lies in a [`Piece`].
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write_at(bytes, offset)
    }

    /// Returns when everything written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }

    /// Makes the next reads of `range` come from the disk.
    pub(crate) fn forget(&self, range: &Range<u64>) {
        self.disk.forget(range.clone());
    }

    /// Fills `bytes`. The conditions of [`SlotTarget::write`] hold here too.
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(bytes, offset)
    }
}
