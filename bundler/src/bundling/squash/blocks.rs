//! Finds the blocks of a SquashFS, where its image is best cut into chunks.
//!
//! The crate `bundle` cuts the image there.
//!
//! A SquashFS compresses the content of a file block by block. A block that did not change has the
//! same bytes wherever it lies. The inode table has the place of a block, and the fragment table
//! the place of the ends of files (the kernel's `fs/squashfs/squashfs_fs.h`). This file reads what
//! [`crate::bundling::squash`] has just packed, and still checks it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use image_layout::{Disk, FileDisk};

/// Bytes of an uncompressed metadata block.
const METADATA_BLOCK: usize = 8192;
/// A bit in the size of a metadata block: the block is not compressed.
const STORED_METADATA: u16 = 1 << 15;
/// A bit in the size of a data block: the block is not compressed.
const STORED_DATA: u32 = 1 << 24;
/// The compressor that `squash` uses.
const ZSTD: u16 = 6;
/// In an inode: "no fragment". In the superblock: "no table".
const NONE: u32 = u32::MAX;
/// Most bytes of an unpacked table. An inode table of this size has some millions of files.
const TABLE: usize = 1 << 30;
/// Largest data block of SquashFS, in bytes.
const LARGEST_BLOCK: u32 = 1 << 20;

/// Returns the boundaries of data and fragment blocks in the SquashFS at `image`, and the place
/// where its tables begin, in bytes.
///
/// # Errors
/// The file cannot be read, or is not a SquashFS as [`crate::bundling::squash`] packs it.
pub fn boundaries(image: &Path) -> Result<BTreeSet<u64>> {
    let doing = || format!("finding the blocks of {}", image.display());
    read(&FileDisk::open_read_only(image).with_context(doing)?).with_context(doing)
}

/// Returns the same of the SquashFS at the beginning of `disk`.
///
/// # Errors
/// As [`boundaries`].
pub fn read(disk: &impl Disk) -> Result<BTreeSet<u64>> {
    let mut superblock = [0; 96];
    disk.read_at(&mut superblock, 0)?;
    let mut fields = Fields(&superblock);
    ensure!(fields.u32()? == u32::from_le_bytes(*b"hsqs"), "the file is not a SquashFS");
    let inode_count = fields.u32()?;
    let _time = fields.u32()?;
    let block_size = fields.u32()?;
    let fragment_count = fields.u32()?;
    let compressor = fields.u16()?;
    ensure!(compressor == ZSTD, "its compressor is number {compressor} and not zstd");
    ensure!(
        block_size.is_power_of_two() && block_size <= LARGEST_BLOCK,
        "its block size is {block_size}"
    );
    fields.skip(2 + 2 + 2 + 2 + 2 + 8)?; // block log, flags, ids, version, root
    let used = fields.u64()?;
    ensure!(used <= disk.size()?, "it is cut short");
    fields.skip(8 + 8)?; // ids, xattrs
    let (inode_table, directory_table, fragment_table) =
        (fields.u64()?, fields.u64()?, fields.u64()?);

    let mut blocks =
        Blocks { found: BTreeSet::from([inode_table, directory_table]), data_end: inode_table };
    let inodes = table(disk, inode_table, directory_table)?;
    let mut inodes = Fields(&inodes);
    for _ in 0..inode_count {
        inode(&mut inodes, block_size, &mut blocks)?;
    }
    ensure!(inodes.0.is_empty(), "its inode table has more inodes than the superblock says");

    // The list has the places of metadata blocks. Each block has 512 entries of 16 bytes.
    for index in 0..u64::from(fragment_count).div_ceil(512) {
        let mut place = [0; 8];
        disk.read_at(&mut place, fragment_table + 8 * index)?;
        let (entries, _) = metadata_block(disk, u64::from_le_bytes(place))?;
        let mut entries = Fields(&entries);
        while !entries.0.is_empty() {
            let (start, size) = (entries.u64()?, entries.u32()?);
            entries.skip(4)?;
            blocks.add(start, size)?;
        }
    }
    Ok(blocks.found)
}

struct Blocks {
    found: BTreeSet<u64>,
    data_end: u64,
}

impl Blocks {
    /// Adds a block at `start`, whose `size` includes its flag. Returns where the block ends.
    fn add(&mut self, start: u64, size: u32) -> Result<u64> {
        let end =
            start.checked_add(u64::from(size & !STORED_DATA)).filter(|end| *end <= self.data_end);
        let end = end.context("a block reaches beyond the data")?;
        self.found.extend([start, end]);
        Ok(end)
    }
}

/// Reads one inode, and adds its blocks if it is a file.
fn inode(fields: &mut Fields<'_>, block_size: u32, blocks: &mut Blocks) -> Result<()> {
    let kind = fields.u16()?;
    fields.skip(2 + 2 + 2 + 4 + 4)?; // mode, owner, group, time, number
    let (start, size, fragment) = match kind {
        1 => return fields.skip(16), // a folder
        2 => {
            let (start, fragment) = (fields.u32()?, fields.u32()?);
            fields.skip(4)?; // place in the fragment
            (u64::from(start), u64::from(fields.u32()?), fragment)
        }
        3 | 10 => {
            // A symbolic link; type 10 also has extended attributes.
            fields.skip(4)?;
            let length = fields.u32()? as usize;
            return fields.skip(length + if kind == 10 { 4 } else { 0 });
        }
        4 | 5 => return fields.skip(8), // device nodes
        6 | 7 => return fields.skip(4), // pipe, socket
        8 => {
            // A folder with an index.
            fields.skip(4 + 4 + 4 + 4)?;
            let count = fields.u16()?;
            fields.skip(2 + 4)?;
            for _ in 0..count {
                fields.skip(4 + 4)?;
                let length = fields.u32()? as usize;
                fields.skip(length + 1)?;
            }
            return Ok(());
        }
        9 => {
            let (start, size) = (fields.u64()?, fields.u64()?);
            fields.skip(8 + 4)?; // holes, links
            let fragment = fields.u32()?;
            fields.skip(4 + 4)?; // place in the fragment, xattrs
            (start, size, fragment)
        }
        11 | 12 => return fields.skip(12),
        13 | 14 => return fields.skip(8),
        other => anyhow::bail!("an inode of the unknown type {other}"),
    };
    let block_size = u64::from(block_size);
    let count = if fragment == NONE { size.div_ceil(block_size) } else { size / block_size };
    let mut place = start;
    for _ in 0..count {
        let size = fields.u32()?; // 0: a hole
        if size != 0 {
            place = blocks.add(place, size)?;
        }
    }
    Ok(())
}

/// Returns the content of the metadata blocks from `place` to `end`.
fn table(disk: &impl Disk, mut place: u64, end: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    while place < end {
        let (block, next) = metadata_block(disk, place)?;
        ensure!(content.len() + block.len() <= TABLE, "a table is larger than {TABLE} bytes");
        content.extend(block);
        place = next;
    }
    ensure!(place == end, "a table does not end where the next begins");
    Ok(content)
}

/// Returns the content of the metadata block at `place`, and where the block ends.
fn metadata_block(disk: &impl Disk, place: u64) -> Result<(Vec<u8>, u64)> {
    let mut header = [0; 2];
    disk.read_at(&mut header, place)?;
    let header = u16::from_le_bytes(header);
    let len = usize::from(header & !STORED_METADATA);
    ensure!(len <= METADATA_BLOCK, "a metadata block is larger than {METADATA_BLOCK} bytes");
    let mut block = vec![0; len];
    disk.read_at(&mut block, place + 2)?;
    if header & STORED_METADATA == 0 {
        block =
            zstd::bulk::decompress(&block, METADATA_BLOCK).context("unpacking a metadata block")?;
    }
    Ok((block, place + 2 + len as u64))
}

/// Reads little-endian fields one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk().context("a table is cut short")?;
        self.0 = rest;
        Ok(*field)
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        self.0 = self.0.get(len..).context("a table is cut short")?;
        Ok(())
    }

    fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
