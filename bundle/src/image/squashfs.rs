//! A SquashFS 4.0 that is nothing but files in a row: flat, uncompressed, every file contiguous.
//!
//! `squashfs_read` reads it, and the bundler makes the compressed root image.
//!
//! GRUB's `squash4`, the kernel and `unsquashfs` read this form. A bundle and a boot image have it.
//! It is uncompressed for three reasons:
//!
//! - The images inside are compressed already.
//! - A file's bytes lie in one piece at a known place.
//! - A writer of this form fits on two pages, which no library that links liblzma does.
//!
//! The layout follows the kernel's `fs/squashfs/squashfs_fs.h`; `docs/bundle-format.md` describes
//! this subset.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::image::aside::Aside;
use crate::value::limits;
use crate::{BundleError, FileName};

/// Bytes of a data block. This is the largest size, so the list of blocks in an inode is short.
pub(crate) const DATA_BLOCK: u64 = 1 << 20;
/// Content bytes of a metadata block. A header of 2 bytes precedes each block.
pub(crate) const METADATA_BLOCK: usize = 8192;
/// This bit in the size of a data block says that the block is not compressed.
pub(crate) const STORED_DATA: u32 = 1 << 24;
/// This bit in the header of a metadata block says that the block is not compressed.
pub(crate) const STORED_METADATA: u16 = 1 << 15;
/// The flags: inodes, data, fragments, xattrs and ids are stored; there are no fragments and no
/// xattrs.
pub(crate) const FLAGS: u16 = 0x1 | 0x2 | 0x8 | 0x10 | 0x100 | 0x200 | 0x800;
/// The value that says: there is no such table, fragment or xattr.
pub(crate) const NONE: u64 = u64::MAX;
/// Inode types.
pub(crate) const TYPE_DIR: u16 = 1;
pub(crate) const TYPE_FILE: u16 = 2;
pub(crate) const TYPE_LONG_FILE: u16 = 9;

/// A file in a stored SquashFS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredFile {
    /// The file's name.
    pub name: FileName,
    /// Where the file's bytes begin, counted from the beginning of the SquashFS; a multiple of
    /// [`limits::BLOCK`].
    pub offset: u64,
    /// The file's size, bytes.
    pub size: u64,
}

/// Files that are to become a stored SquashFS. All files belong to root, have mode 0644 and the
/// time 0. So the same names and bytes in the same order always give the same image.
#[derive(Debug, Default)]
pub struct StoredSquashfs<'a> {
    files: Vec<(StoredFile, Source<'a>)>,
}

#[derive(Debug)]
enum Source<'a> {
    Bytes(Cow<'a, [u8]>),
    Path(Cow<'a, Path>),
}

impl<'a> StoredSquashfs<'a> {
    /// Returns a SquashFS without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with this content.
    ///
    /// # Errors
    /// The name is invalid or taken, or there are more than [`limits::FILES`].
    pub fn add_bytes(
        &mut self,
        name: &str,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<&mut Self, BundleError> {
        let bytes = bytes.into();
        self.add(name, bytes.len() as u64, Source::Bytes(bytes))
    }

    /// Adds a file whose content is copied from `path` when the image is written.
    ///
    /// # Errors
    /// Those of [`StoredSquashfs::add_bytes`], and `path` cannot be read.
    pub fn add_file(
        &mut self,
        name: &str,
        path: impl Into<Cow<'a, Path>>,
    ) -> Result<&mut Self, BundleError> {
        let path = path.into();
        let size = path.metadata().map_err(BundleError::file("read", &path))?.len();
        self.add(name, size, Source::Path(path))
    }

    fn add(&mut self, name: &str, size: u64, source: Source<'a>) -> Result<&mut Self, BundleError> {
        let refuse = |why: String| Err(BundleError::Input(why));
        let name: FileName = name.parse().map_err(|e| BundleError::Input(format!("{e}")))?;
        if self.files.iter().any(|(file, _)| file.name == name) {
            return refuse(format!("two files are called {name}; rename one"));
        }
        if self.files.len() == limits::FILES {
            return refuse(format!("more than {} files in one stored SquashFS", limits::FILES));
        }
        let offset =
            self.files.last().map_or(limits::BLOCK, |(file, _)| padded(file.offset + file.size));
        if size > limits::SQUASHFS || offset + size > limits::SQUASHFS {
            return refuse("a stored SquashFS larger than 1 TiB".to_owned());
        }
        self.files.push((StoredFile { name, offset, size }, source));
        Ok(self)
    }

    /// Streams the image to `out`. The image is a multiple of [`limits::BLOCK`] bytes. Returns
    /// where each file lies, in the order in which the files were added.
    ///
    /// # Errors
    /// A source cannot be read or has changed its size, or `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> Result<Vec<StoredFile>, BundleError> {
        let files: Vec<StoredFile> = self.files.iter().map(|(file, _)| file.clone()).collect();
        let (superblock, metadata) = metadata(&files)?;
        let mut out = Positioned { out, at: 0 };
        out.put(&superblock)?;
        for (file, source) in &self.files {
            out.pad()?;
            match source {
                Source::Bytes(bytes) => out.put(bytes)?,
                Source::Path(path) => out.copy(path, file.size)?,
            }
        }
        out.pad()?;
        out.put(&metadata)?;
        out.pad()?;
        Ok(files)
    }

    /// Writes the image beside `path`, syncs it and renames it. So `path` is the whole image, or
    /// what it was before.
    ///
    /// # Errors
    /// See [`StoredSquashfs::write`].
    pub fn write_to(&self, path: &Path) -> Result<Vec<StoredFile>, BundleError> {
        let mut aside = Aside::create(path)?;
        let files = self.write(aside.file())?;
        aside.finish()?;
        Ok(files)
    }
}

/// Returns `size` rounded up to whole [`limits::BLOCK`]s.
pub(crate) fn padded(size: u64) -> u64 {
    size.next_multiple_of(limits::BLOCK)
}

/// An output that counts the bytes written to it.
struct Positioned<'a, W> {
    out: &'a mut W,
    at: u64,
}

impl<W: Write> Positioned<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        let failed = |e| BundleError::Input(format!("cannot write the SquashFS: {e}"));
        self.out.write_all(bytes).map_err(failed)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Result<(), BundleError> {
        let zeros = [0; limits::BLOCK as usize];
        self.put(&zeros[..(padded(self.at) - self.at) as usize]) // less than a block
    }

    fn copy(&mut self, path: &Path, size: u64) -> Result<(), BundleError> {
        let mut file = File::open(path).map_err(BundleError::file("read", path))?;
        let end = self.at + size;
        let mut buf = vec![0; 256 << 10];
        loop {
            let len = file.read(&mut buf).map_err(BundleError::file("read", path))?;
            if len == 0 || len as u64 > end - self.at {
                break;
            }
            self.put(&buf[..len])?;
        }
        if self.at != end || file.read(&mut buf[..1]).map_err(BundleError::file("read", path))? != 0
        {
            return Err(BundleError::Input(format!(
                "{} changed while it was read; try again",
                path.display()
            )));
        }
        Ok(())
    }
}

/// Returns the superblock, and everything behind the data: inode table, directory table, id table.
/// In this form both follow from names and sizes alone. So they are known before the first byte of
/// data is.
pub(crate) fn metadata(files: &[StoredFile]) -> Result<([u8; 96], Vec<u8>), BundleError> {
    let mut inodes = Vec::new();
    // Each entry has a name, an inode number and the place of the inode.
    let mut entries: Vec<(&FileName, u32, usize)> = Vec::new();
    for (file, number) in files.iter().zip(1..) {
        entries.push((&file.name, number, inodes.len()));
        inode_header(&mut inodes, TYPE_LONG_FILE, 0o644, number);
        inodes.extend(if file.size == 0 { 0 } else { file.offset }.to_le_bytes());
        inodes.extend(file.size.to_le_bytes());
        inodes.extend(0u64.to_le_bytes()); // holes
        inodes.extend(1u32.to_le_bytes()); // links
        inodes.extend([0xff; 4]); // no fragment
        inodes.extend(0u32.to_le_bytes());
        inodes.extend([0xff; 4]); // no xattrs
        let mut rest = file.size;
        while rest > 0 {
            let len = rest.min(DATA_BLOCK);
            inodes.extend((len as u32 | STORED_DATA).to_le_bytes()); // at most 1 MiB
            rest -= len;
        }
    }
    entries.sort();
    let directory = directory(&entries);
    let root = inodes.len();
    let root_number = files.len() as u32 + 1; // at most 129
    let listing = u16::try_from(directory.len() + 3)
        .map_err(|_| BundleError::Input("names too long".to_owned()))?;
    inode_header(&mut inodes, TYPE_DIR, 0o755, root_number);
    // The listing begins in the first block of the directory table.
    inodes.extend(0u32.to_le_bytes());
    inodes.extend(2u32.to_le_bytes()); // links
    inodes.extend(listing.to_le_bytes());
    inodes.extend(0u16.to_le_bytes()); // the listing begins at the first byte of that block
    inodes.extend((root_number + 1).to_le_bytes()); // the root's parent, as mksquashfs numbers it

    let ends = files.iter().filter(|file| file.size > 0).map(|file| file.offset + file.size);
    let inode_table = padded(ends.max().unwrap_or(limits::BLOCK));
    let mut metadata = blocks(&inodes);
    let directory_table = inode_table + metadata.len() as u64;
    metadata.extend(blocks(&directory));
    let ids = inode_table + metadata.len() as u64;
    metadata.extend(blocks(&0u32.to_le_bytes())); // the only owner and group: 0
    let id_table = inode_table + metadata.len() as u64;
    metadata.extend(ids.to_le_bytes());
    if metadata.len() as u64 > limits::METADATA {
        return Err(BundleError::Input(
            "the files are too large for one stored SquashFS".to_owned(),
        ));
    }

    let mut superblock = [0; 96];
    let mut place = superblock.as_mut_slice();
    let mut put = |bytes: &[u8]| {
        let (here, rest) = std::mem::take(&mut place).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        place = rest;
    };
    put(b"hsqs");
    put(&root_number.to_le_bytes()); // number of inodes
    put(&0u32.to_le_bytes()); // time
    put(&(DATA_BLOCK as u32).to_le_bytes());
    put(&0u32.to_le_bytes()); // fragments
    for field in [1, DATA_BLOCK.ilog2() as u16, FLAGS, 1, 4, 0] {
        put(&field.to_le_bytes()); // gzip, block log, flags, ids, version 4.0
    }
    let root = ((root / METADATA_BLOCK * (METADATA_BLOCK + 2)) << 16) | (root % METADATA_BLOCK);
    let used = inode_table + metadata.len() as u64;
    // There are no fragments, but GRUB reads a few bytes where their table would be. So that place
    // must be in the image.
    let fragments = ids;
    for field in [root as u64, used, id_table, NONE, inode_table, directory_table, fragments, NONE]
    {
        put(&field.to_le_bytes());
    }
    Ok((superblock, metadata))
}

fn inode_header(inodes: &mut Vec<u8>, kind: u16, mode: u16, number: u32) {
    for field in [kind, mode, 0, 0] {
        inodes.extend(field.to_le_bytes()); // the last two are indices of owner and group
    }
    inodes.extend(0u32.to_le_bytes()); // time
    inodes.extend(number.to_le_bytes());
}

/// Returns the listing of `entries`, which come in the order of their names. A header precedes
/// every run of entries whose inodes begin in the same metadata block.
fn directory(entries: &[(&FileName, u32, usize)]) -> Vec<u8> {
    let mut directory = Vec::new();
    for run in entries.chunk_by(|a, b| a.2 / METADATA_BLOCK == b.2 / METADATA_BLOCK) {
        let (_, base, place) = run[0];
        directory.extend((run.len() as u32 - 1).to_le_bytes()); // at most 128 entries
        // The place is within 1 MiB.
        directory.extend(((place / METADATA_BLOCK * (METADATA_BLOCK + 2)) as u32).to_le_bytes());
        directory.extend(base.to_le_bytes());
        for (name, number, place) in run {
            directory.extend(((place % METADATA_BLOCK) as u16).to_le_bytes());
            // The difference is signed, and at most 128 either way.
            directory.extend((number.wrapping_sub(base) as u16).to_le_bytes());
            directory.extend(TYPE_FILE.to_le_bytes());
            directory.extend((name.as_str().len() as u16 - 1).to_le_bytes()); // 1 to 255
            directory.extend(name.as_str().as_bytes());
        }
    }
    directory
}

/// Returns `content` as stored metadata blocks.
fn blocks(content: &[u8]) -> Vec<u8> {
    let block = |part: &[u8]| [&(part.len() as u16 | STORED_METADATA).to_le_bytes(), part].concat();
    content.chunks(METADATA_BLOCK).flat_map(block).collect()
}
