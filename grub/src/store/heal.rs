//! Creates a damaged or missing file on the FAT anew.
//!
//! `copies` overwrites files in place where it can, and calls this file where it cannot.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{FileSystem, FsOptions};
use image_layout::Disk;

use crate::store::aligned;
use crate::store::fat::{
    ENTRY_ATTRIBUTES, ENTRY_CLUSTER_HIGH, ENTRY_CLUSTER_LOW_AND_SIZE, Fat, Found,
};

/// The attribute of every plain file.
const ATTR_ARCHIVE: u8 = 0x20;

/// Makes `path` (one directory and a name) a file of `content`, and syncs.
///
/// The old clusters are cut off the directory entry and are not freed. Their chain cannot be
/// trusted, and might be that of the other copy. That loses a few clusters each time.
pub(crate) fn recreate<D: Disk>(
    disk: &D,
    sector: u32,
    path: &str,
    content: &[u8],
) -> io::Result<()> {
    let found = Fat::open(disk, sector)?.find(path, 0)?;
    if let Found::File { entry, .. } | Found::Directory { entry } = found {
        aligned::write(disk, entry + ENTRY_ATTRIBUTES, &[ATTR_ARCHIVE], sector)?;
        aligned::write(disk, entry + ENTRY_CLUSTER_HIGH, &[0; 2], sector)?;
        aligned::write(disk, entry + ENTRY_CLUSTER_LOW_AND_SIZE, &[0; 6], sector)?;
        disk.sync()?;
    }
    let position = 0;
    let fs = FileSystem::new(
        Partition { disk, sector, position },
        FsOptions::new().update_accessed_date(false),
    )?;
    {
        let (dir, name) = path.split_once('/').ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = fs.root_dir().create_dir(dir)?.create_file(name)?;
        file.write_all(content)?;
        file.flush()?;
    }
    fs.unmount()?;
    disk.sync()
}

/// A disk as a stream, because `fatfs` works on streams. Every transfer is whole aligned sectors.
struct Partition<'d, D> {
    disk: &'d D,
    sector: u32,
    position: u64,
}

impl<D: Disk> Partition<'_, D> {
    fn clip(&self, len: usize) -> io::Result<usize> {
        let left = self.disk.size()?.saturating_sub(self.position);
        Ok(len.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }
}

impl<D: Disk> Read for Partition<'_, D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.clip(buf.len())?;
        buf[..len].copy_from_slice(&aligned::read(self.disk, self.position, len, self.sector)?);
        self.position += len as u64;
        Ok(len)
    }
}

impl<D: Disk> Write for Partition<'_, D> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.clip(buf.len())?;
        aligned::write(self.disk, self.position, &buf[..len], self.sector)?;
        self.position += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.sync()
    }
}

impl<D: Disk> Seek for Partition<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.disk.size()?.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
