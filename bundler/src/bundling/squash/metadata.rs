//! The tables of a SquashFS: superblock, metadata blocks, fragments, ids.
//!
//! `blocks` and `unpack` read the inodes. The form is in the kernel's `fs/squashfs/squashfs_fs.h`.
//! Everything is checked: the image may have been made by a stranger.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use image_layout::Disk;
use liblzma::read::XzDecoder;
use liblzma::stream::Stream;
use squashfs_ng::Compressor;

/// Bytes of an uncompressed metadata block.
const METADATA_BLOCK: usize = 8192;
/// A bit in the size of a metadata block: the block is not compressed.
const STORED_METADATA: u16 = 1 << 15;
/// A bit in the size of a data block: the block is not compressed.
pub(super) const STORED_DATA: u32 = 1 << 24;
/// The numbers of the compressors that `squash` uses.
const XZ: u16 = 4;
const ZSTD: u16 = 6;
/// Most bytes of memory that unpacking an xz block takes. Its dictionary has at most 1 MiB.
const XZ_MEMORY: u64 = 16 << 20;
/// In an inode: "no fragment". In the superblock: "no table".
pub(super) const NONE: u32 = u32::MAX;
/// Most bytes of an unpacked table. An inode table of this size has some millions of files.
const TABLE: usize = 1 << 30;
/// Most fragments: room for the ends of some millions of files. A small image could claim to have
/// billions.
const MOST_FRAGMENTS: u32 = 1 << 20;
/// Largest data block of SquashFS, in bytes.
const LARGEST_BLOCK: u32 = 1 << 20;

/// What the superblock says. Places are in bytes from the start of the image.
pub(super) struct Superblock {
    pub(super) inode_count: u32,
    /// Seconds since 1970
    time: u32,
    compressor: Compressor,
    /// Bytes of an unpacked data block.
    pub(super) block_size: u32,
    fragment_count: u32,
    id_count: u16,
    /// The root folder's inode: the place of its metadata block in the inode table, and its place
    /// in the unpacked block in the lower 16 bits.
    pub(super) root: u64,
    id_table: u64,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
}

impl Superblock {
    /// # Errors
    /// The disk cannot be read, or is not a SquashFS as [`crate::bundling::squash`] packs it.
    pub(super) fn read(disk: &impl Disk) -> Result<Self> {
        let mut superblock = [0; 96];
        disk.read_at(&mut superblock, 0)?;
        let mut fields = Fields(&superblock);
        ensure!(fields.u32()? == u32::from_le_bytes(*b"hsqs"), "the file is not a SquashFS");
        let inode_count = fields.u32()?;
        let time = fields.u32()?;
        let block_size = fields.u32()?;
        let fragment_count = fields.u32()?;
        let compressor = match fields.u16()? {
            ZSTD => Compressor::Zstd,
            XZ => Compressor::Xz,
            other => bail!("its compressor is number {other} and neither zstd nor xz"),
        };
        ensure!(
            block_size.is_power_of_two() && block_size <= LARGEST_BLOCK,
            "its block size is {block_size}"
        );
        fields.skip(2 + 2)?; // block log, flags
        let id_count = fields.u16()?;
        fields.skip(2 + 2)?; // version
        let root = fields.u64()?;
        let used = fields.u64()?;
        ensure!(used <= disk.size()?, "it is cut short");
        let id_table = fields.u64()?;
        fields.skip(8)?; // xattrs
        let (inode_table, directory_table, fragment_table) =
            (fields.u64()?, fields.u64()?, fields.u64()?);
        Ok(Self {
            inode_count,
            time,
            compressor,
            block_size,
            fragment_count,
            id_count,
            root,
            id_table,
            inode_table,
            directory_table,
            fragment_table,
        })
    }
}

impl Superblock {
    /// Returns the content of a packed block, of at most `most` bytes.
    fn unpack(&self, packed: &[u8], most: usize) -> Result<Vec<u8>> {
        if self.compressor == Compressor::Zstd {
            return Ok(zstd::bulk::decompress(packed, most)?);
        }
        let stream = Stream::new_stream_decoder(XZ_MEMORY, 0)?;
        let mut content = Vec::new();
        let decoder = XzDecoder::new_stream(packed, stream);
        decoder.take(most as u64 + 1).read_to_end(&mut content)?;
        ensure!(content.len() <= most, "its content is larger than {most} bytes");
        Ok(content)
    }
}

/// Returns the time of the SquashFS at the beginning of `disk`, in seconds since 1970.
///
/// # Errors
/// As for [`super::unpack`].
pub fn time(disk: &impl Disk) -> Result<u32> {
    Ok(Superblock::read(disk)?.time)
}

/// The place of a packed block, and its size with the flag [`STORED_DATA`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) start: u64,
    pub(super) size: u32,
}

/// Returns the blocks in which the ends of files lie.
pub(super) fn fragments(disk: &impl Disk, superblock: &Superblock) -> Result<Vec<Stored>> {
    ensure!(superblock.fragment_count <= MOST_FRAGMENTS, "it has too many fragments");
    // The list has the places of metadata blocks. Each block has 512 entries of 16 bytes.
    let mut found = Vec::new();
    for index in 0..u64::from(superblock.fragment_count).div_ceil(512) {
        let entries = listed_block(disk, superblock, superblock.fragment_table, index)?;
        let mut entries = Fields(&entries);
        while !entries.0.is_empty() {
            let (start, size) = (entries.u64()?, entries.u32()?);
            entries.skip(4)?;
            found.push(Stored { start, size });
        }
    }
    Ok(found)
}

/// Returns the numbers of users and groups, which inodes name by their index.
pub(super) fn ids(disk: &impl Disk, superblock: &Superblock) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for index in 0..u64::from(superblock.id_count).div_ceil(2048) {
        let entries = listed_block(disk, superblock, superblock.id_table, index)?;
        let mut entries = Fields(&entries);
        while !entries.0.is_empty() {
            ids.push(entries.u32()?);
        }
    }
    Ok(ids)
}

/// Returns the metadata block whose place is entry `index` of the list at `list`.
fn listed_block(
    disk: &impl Disk,
    superblock: &Superblock,
    list: u64,
    index: u64,
) -> Result<Vec<u8>> {
    let mut place = [0; 8];
    let at = list.checked_add(8 * index).context("a table lies beyond the image")?;
    disk.read_at(&mut place, at)?;
    Ok(metadata_block(disk, superblock, u64::from_le_bytes(place))?.0)
}

/// An unpacked table.
pub(super) struct Table {
    pub(super) content: Vec<u8>,
    /// Where each metadata block began: its place in the packed table, and in `content`.
    blocks: BTreeMap<u64, usize>,
}

impl Table {
    /// Returns what follows the place `at` of the unpacked metadata block at `block`.
    pub(super) fn from(&self, block: u64, at: usize) -> Result<Fields<'_>> {
        let begin = self.blocks.get(&block).context("a table has no such block")?;
        ensure!(at < METADATA_BLOCK, "a place lies beyond its metadata block");
        Ok(Fields(self.content.get(begin + at..).context("a table is cut short")?))
    }
}

/// Returns the inode table, unpacked.
pub(super) fn inodes(disk: &impl Disk, superblock: &Superblock) -> Result<Table> {
    let (start, end) = (superblock.inode_table, superblock.directory_table);
    let mut table = Table { content: Vec::new(), blocks: BTreeMap::new() };
    let mut place = start;
    while place < end {
        let (block, next) = metadata_block(disk, superblock, place)?;
        // A million empty blocks take little room in an image, and much in memory.
        ensure!(!block.is_empty(), "a table has an empty block");
        let content = &mut table.content;
        ensure!(content.len() + block.len() <= TABLE, "a table is larger than {TABLE} bytes");
        table.blocks.insert(place - start, content.len());
        content.extend(block);
        place = next;
    }
    ensure!(place == end, "a table does not end where the next begins");
    Ok(table)
}

/// Returns the content of the metadata block at `place`, and where the block ends.
fn metadata_block(disk: &impl Disk, superblock: &Superblock, place: u64) -> Result<(Vec<u8>, u64)> {
    let mut header = [0; 2];
    disk.read_at(&mut header, place)?;
    let header = u16::from_le_bytes(header);
    let len = usize::from(header & !STORED_METADATA);
    ensure!(len <= METADATA_BLOCK, "a metadata block is larger than {METADATA_BLOCK} bytes");
    let mut block = vec![0; len];
    disk.read_at(&mut block, place + 2)?;
    if header & STORED_METADATA == 0 {
        block = superblock.unpack(&block, METADATA_BLOCK).context("unpacking a metadata block")?;
    }
    Ok((block, place + 2 + len as u64))
}

/// Returns `len` bytes of the metadata blocks from `start`, without the first `at` bytes. `total`
/// counts the bytes of all calls, and has a limit too.
pub(super) fn folder(
    disk: &impl Disk,
    superblock: &Superblock,
    start: u64,
    at: usize,
    len: usize,
    total: &mut usize,
) -> Result<Vec<u8>> {
    *total += len;
    ensure!(at < METADATA_BLOCK && *total <= TABLE, "its folders are larger than {TABLE} bytes");
    let (mut place, mut content) = (start, Vec::new());
    while content.len() < at + len {
        let (block, next) = metadata_block(disk, superblock, place)?;
        ensure!(!block.is_empty(), "a folder is cut short");
        content.extend(block);
        place = next;
    }
    content.drain(..at);
    content.truncate(len);
    Ok(content)
}

/// Returns the content of a data block.
pub(super) fn data_block(
    disk: &impl Disk,
    superblock: &Superblock,
    block: Stored,
) -> Result<Vec<u8>> {
    let most = superblock.block_size;
    let size = block.size & !STORED_DATA;
    ensure!(size <= most, "a block is larger than {most} bytes");
    let mut content = vec![0; size as usize];
    disk.read_at(&mut content, block.start)?;
    if block.size & STORED_DATA == 0 {
        content = superblock.unpack(&content, most as usize).context("unpacking a data block")?;
    }
    Ok(content)
}

/// Reads little-endian fields one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk().context("a table is cut short")?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn skip(&mut self, len: usize) -> Result<()> {
        self.0 = self.0.get(len..).context("a table is cut short")?;
        Ok(())
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self, len: usize) -> Result<&'a str> {
        let (text, rest) = self.0.split_at_checked(len).context("a table is cut short")?;
        self.0 = rest;
        str::from_utf8(text)
            .with_context(|| format!("{:?} is not UTF-8", String::from_utf8_lossy(text)))
    }
}
