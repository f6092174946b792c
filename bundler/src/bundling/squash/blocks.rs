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

use crate::bundling::squash::metadata::{
    Fields, NONE, STORED_DATA, Stored, Superblock, fragments, inodes,
};

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
    let superblock = Superblock::read(disk)?;
    let Superblock { block_size, inode_table, directory_table, .. } = superblock;

    let mut blocks =
        Blocks { found: BTreeSet::from([inode_table, directory_table]), data_end: inode_table };
    let inodes = inodes(disk, &superblock)?;
    let mut inodes = Fields(&inodes.content);
    for _ in 0..superblock.inode_count {
        inode(&mut inodes, block_size, &mut blocks)?;
    }
    ensure!(inodes.0.is_empty(), "its inode table has more inodes than the superblock says");

    for Stored { start, size } in fragments(disk, &superblock)? {
        blocks.add(start, size)?;
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
