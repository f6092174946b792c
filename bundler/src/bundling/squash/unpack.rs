//! Reads a SquashFS back into a [`Tree`].
//!
//! `metadata` reads the tables. The C library is not used here: nobody has verified the image, and
//! a stranger may have made it. The contents lie in a temporary file without a name, which goes
//! away with the tree. Extended attributes are not read.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use image_layout::Disk;

use crate::bundling::squash::metadata::{
    Fields, NONE, STORED_DATA, Stored, Superblock, Table, data_block, folder, fragments, ids,
    inodes,
};
use crate::bundling::tree::{Content, Inode, InodeId, Kind, Tree};

/// Longest path that Linux takes, in bytes.
const LONGEST_PATH: usize = 4096;
/// Most unpacked bytes of all files together. A small image could claim to hold any amount.
const MOST: u64 = 64 << 30;

/// A tree, and what its files take in the image.
#[derive(Debug)]
pub struct Unpacked {
    /// The files of the image, without extended attributes.
    pub tree: Tree,
    /// Packed bytes of each file: its own blocks, and its share of the block in which its end lies.
    pub packed: BTreeMap<InodeId, u64>,
}

/// Reads the SquashFS at the beginning of `disk`.
///
/// # Errors
/// The disk cannot be read, or is not a SquashFS as [`crate::bundling::squash`] packs it. The
/// temporary file cannot be written. Names of the image are quoted.
pub fn unpack(disk: &impl Disk) -> Result<Unpacked> {
    let superblock = Superblock::read(disk)?;
    let inodes = inodes(disk, &superblock)?;
    let ids = ids(disk, &superblock)?;
    let mut walk = Walk {
        disk,
        superblock: &superblock,
        inodes,
        ids,
        tree: Tree::new(0),
        names: HashMap::new(),
        files: Vec::new(),
        listed: 0,
    };
    let mut folders = Vec::new();
    walk.add("", superblock.root, &mut folders)?;
    while let Some((path, place)) = folders.pop() {
        walk.list(&path, place, &mut folders).with_context(|| format!("reading {path:?}"))?;
    }
    let Walk { mut tree, files, .. } = walk;
    let packed = contents(disk, &superblock, &mut tree, files)?;
    Ok(Unpacked { tree, packed })
}

/// Where the names of a folder lie: a metadata block of the directory table, a place in the
/// unpacked block, and a length in bytes.
struct Listing {
    block: u64,
    at: usize,
    len: usize,
}

/// The blocks of one file.
struct Blocks {
    path: String,
    size: u64,
    full: Vec<Stored>,
    /// The number of a fragment, and the place of the file's end in it.
    tail: Option<(u32, u32)>,
}

struct Walk<'a, D> {
    disk: &'a D,
    superblock: &'a Superblock,
    inodes: Table,
    ids: Vec<u32>,
    tree: Tree,
    /// The first name of each inode.
    names: HashMap<u64, String>,
    files: Vec<Blocks>,
    /// Bytes of all folders' names so far.
    listed: usize,
}

impl<D: Disk> Walk<'_, D> {
    /// Adds the names of a folder.
    fn list(
        &mut self,
        path: &str,
        place: Listing,
        folders: &mut Vec<(String, Listing)>,
    ) -> Result<()> {
        let start = self.superblock.directory_table.checked_add(place.block);
        let start = start.context("a folder lies beyond the image")?;
        let (disk, superblock) = (self.disk, self.superblock);
        let content = folder(disk, superblock, start, place.at, place.len, &mut self.listed)?;
        let mut names = Fields(&content);
        while !names.0.is_empty() {
            let (count, block) = (names.u32()?, names.u32()?);
            names.skip(4)?; // number of the first inode
            for _ in 0..=count {
                let at = names.u16()?;
                names.skip(2 + 2)?; // number, type
                let len = usize::from(names.u16()?) + 1;
                let name = names.text(len)?;
                let wrong = matches!(name, "." | "..") || name.contains(['/', '\0']);
                ensure!(!wrong, "a file cannot be called {name:?}");
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
                ensure!(path.len() < LONGEST_PATH, "a path is longer than {LONGEST_PATH} bytes");
                ensure!(self.tree.get(&path).is_none(), "two files are called {name:?}");
                self.add(&path, u64::from(block) << 16 | u64::from(at), folders)
                    .with_context(|| format!("reading {path:?}"))?;
            }
        }
        Ok(())
    }

    /// Adds the name `path` of the inode at `place`.
    fn add(&mut self, path: &str, place: u64, folders: &mut Vec<(String, Listing)>) -> Result<()> {
        if let Some(first) = self.names.get(&place) {
            let is_dir = self.tree.get(first).is_some_and(|inode| matches!(inode.kind, Kind::Dir));
            ensure!(!is_dir, "the folder is also at {first:?}");
            return self.tree.link(path, first);
        }
        let mut fields = self.inodes.from(place >> 16, usize::from(place as u16))?;
        let fields = &mut fields;
        let kind = fields.u16()?;
        let mode = fields.u16()? & 0o7777;
        let mut id = || {
            let index = usize::from(fields.u16()?);
            self.ids.get(index).copied().context("an owner that is not in the table")
        };
        let (uid, gid) = (id()?, id()?);
        let mtime = fields.u32()?;
        fields.skip(4)?; // number
        let kind = match kind {
            1 | 8 => {
                let listing = listing(fields, kind == 8)?;
                folders.extend(listing.map(|listing| (path.to_owned(), listing)));
                Kind::Dir
            }
            2 | 9 => {
                let blocks = blocks(fields, kind == 9, self.superblock.block_size, path)?;
                self.files.push(blocks);
                Kind::File(Content::Bytes(Arc::default()))
            }
            3 | 10 => {
                fields.skip(4)?; // links
                let len = fields.u32()? as usize;
                Kind::Symlink(fields.text(len)?.to_owned())
            }
            4 | 5 | 11 | 12 => {
                fields.skip(4)?; // links
                let device = fields.u32()?;
                let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
                if matches!(kind, 4 | 11) {
                    Kind::BlockDevice(major, minor)
                } else {
                    Kind::CharDevice(major, minor)
                }
            }
            6 | 13 => Kind::Fifo,
            other => bail!("an inode of the type {other}, which a root filesystem does not have"),
        };
        let inode = Inode { kind, mode, uid, gid, mtime, xattrs: BTreeMap::new() };
        self.names.insert(place, path.to_owned());
        if path.is_empty() {
            ensure!(matches!(inode.kind, Kind::Dir), "its root is not a folder");
            if let Some(root) = self.tree.get_mut("") {
                *root = inode;
            }
        } else {
            self.tree.insert(path, inode);
        }
        Ok(())
    }
}

/// Reads where a folder's names lie. `None`: it has none.
fn listing(fields: &mut Fields<'_>, is_long: bool) -> Result<Option<Listing>> {
    let (block, len, at);
    if is_long {
        fields.skip(4)?; // links
        len = fields.u32()? as usize;
        block = fields.u32()?;
        fields.skip(4 + 2)?; // parent, entries of the index
        at = fields.u16()?;
    } else {
        block = fields.u32()?;
        fields.skip(4)?; // links
        len = usize::from(fields.u16()?);
        at = fields.u16()?;
    }
    // The size of a folder counts `.` and `..` as three bytes.
    let len = len.saturating_sub(3);
    Ok((len > 0).then_some(Listing { block: block.into(), at: at.into(), len }))
}

/// Reads where a file's content lies.
fn blocks(fields: &mut Fields<'_>, is_long: bool, block: u32, path: &str) -> Result<Blocks> {
    let (start, size, fragment, at);
    if is_long {
        (start, size) = (fields.u64()?, fields.u64()?);
        fields.skip(8 + 4)?; // holes, links
        (fragment, at) = (fields.u32()?, fields.u32()?);
        fields.skip(4)?; // extended attributes
    } else {
        start = u64::from(fields.u32()?);
        (fragment, at) = (fields.u32()?, fields.u32()?);
        size = u64::from(fields.u32()?);
    }
    let block = u64::from(block);
    let tail = (fragment != NONE && !size.is_multiple_of(block)).then_some((fragment, at));
    let count = if tail.is_some() { size / block } else { size.div_ceil(block) };
    let mut full = Vec::new();
    let mut place = start;
    for _ in 0..count {
        let size = fields.u32()?;
        full.push(Stored { start: place, size });
        let next = place.checked_add(u64::from(size & !STORED_DATA));
        place = next.context("a block lies beyond the image")?;
    }
    Ok(Blocks { path: path.to_owned(), size, full, tail })
}

/// Unpacks the files into a temporary file, and gives the tree their places in it. Returns their
/// packed sizes.
fn contents(
    disk: &impl Disk,
    superblock: &Superblock,
    tree: &mut Tree,
    mut files: Vec<Blocks>,
) -> Result<BTreeMap<InodeId, u64>> {
    let spill = tempfile::tempfile().context("making a temporary file")?;
    let file = Arc::new(spill);
    let fragments = fragments(disk, superblock)?;
    // Each fragment holds the ends of many files, and is unpacked once.
    files.sort_by_key(|file| file.tail);
    let mut fragment = (NONE, Vec::new());
    let mut packed = BTreeMap::new();
    let mut end = 0_u64;
    for Blocks { path, size, full, tail } in files {
        let reading = || format!("reading {path:?}");
        let (offset, mut taken) = (end, 0);
        end = end
            .checked_add(size)
            .filter(|end| *end <= MOST)
            .with_context(|| format!("the files have more than {} GiB together", MOST >> 30))?;
        let mut at = offset;
        for block in full {
            let len = (end - at).min(superblock.block_size.into());
            // A hole stays one in the temporary file.
            if block.size != 0 {
                let content = data_block(disk, superblock, block).with_context(reading)?;
                ensure!(content.len() as u64 == len, "a block of {path:?} has another size");
                write(&file, &content, at)?;
                taken += u64::from(block.size & !STORED_DATA);
            }
            at += len;
        }
        if let Some((number, place)) = tail {
            let stored = fragments.get(number as usize).copied();
            let stored = stored.context("the image has no such fragment").with_context(reading)?;
            if fragment.0 != number {
                let content = data_block(disk, superblock, stored);
                fragment = (number, content.with_context(reading)?);
            }
            let (place, len) = (place as usize, (end - at) as usize);
            let content = fragment.1.get(place..).and_then(|rest| rest.get(..len));
            write(&file, content.with_context(|| format!("{path:?} is cut short"))?, at)?;
            let whole = (fragment.1.len() as u64).max(1);
            taken += u64::from(stored.size & !STORED_DATA) * len as u64 / whole;
        }
        if let Some(inode) = tree.get_mut(&path) {
            inode.kind = Kind::File(Content::Span { file: file.clone(), offset, len: size });
        }
        packed.extend(tree.id(&path).map(|id| (id, taken)));
    }
    file.set_len(end).context("writing a temporary file")?;
    Ok(packed)
}

fn write(file: &File, content: &[u8], at: u64) -> Result<()> {
    file.write_all_at(content, at).context("writing a temporary file")
}
