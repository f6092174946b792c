//! Writes an image: first the contents of files, then the tables that describe them.
//!
//! `inode` knows the forms of an inode, and the caller gives names and numbers that fit together.
//! libsquashfs keeps addresses of what it was given. The fields of [`Writer`] therefore stand in
//! the order in which they must be freed.

#![allow(unsafe_code, reason = "a C library; each of its objects belongs to one Writer")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;
use std::thread::available_parallelism;

use crate::error::{Error, done};
use crate::inode::Raw;
use crate::library::*;
use crate::object::{Object, not_null};
use crate::packed::{PackedBlocks, remembering};

/// Length in bytes of the longest file name that Linux reads.
pub const NAME_MAX: usize = 255;

/// The size of an image is a multiple of this, in bytes: the block of a disk.
const PADDED_TO: u64 = 4096;
/// The index of an inode without extended attributes.
const NO_XATTRS: u32 = u32::MAX;
/// Number of bytes that libsquashfs gets at once.
const PIECE: usize = 128 << 10;
/// Number of blocks that may wait for each packing thread.
const BACKLOG: usize = 10;

/// A compressor that SquashFS and libsquashfs both know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compressor {
    /// Zstandard, levels 1 to 22.
    Zstd,
    /// xz with a dictionary of one block and no filter, levels 0 to 9.
    Xz,
}

/// How the blocks of an image are packed. The tables behind them are packed alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packing {
    /// The compressor. An image has one.
    pub compressor: Compressor,
    /// The compressor's level.
    pub level: u8,
    /// Bytes of an unpacked block: a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
}

/// The metadata that every inode has.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    /// Permissions: the lower 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Extended attributes; each name includes its namespace.
    pub xattrs: &'a BTreeMap<String, Vec<u8>>,
}

/// The kind of an inode, with its content.
pub enum Node<'a> {
    /// A regular file and its content.
    File {
        /// The content, which is read to its end.
        content: &'a mut dyn Read,
        /// Is called with the number of bytes that libsquashfs has got.
        watch: &'a mut dyn FnMut(u64),
    },
    /// A folder: the names of its entries, sorted, with the numbers that [`Writer::add`] returned.
    Dir(&'a [(&'a str, u32)]),
    /// A symbolic link to this text.
    Symlink(&'a str),
    /// Character device: major, minor.
    CharDevice(u32, u32),
    /// Block device: major, minor.
    BlockDevice(u32, u32),
    /// Named pipe.
    Fifo,
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File { .. } => "File",
            Self::Dir(_) => "Dir",
            Self::Symlink(_) => "Symlink",
            Self::CharDevice(..) => "CharDevice",
            Self::BlockDevice(..) => "BlockDevice",
            Self::Fifo => "Fifo",
        })
    }
}

/// An inode that is written at the end, with the values that libsquashfs gets later.
struct Pending {
    /// The box keeps the address fixed. libsquashfs keeps the address of this field of a file until
    /// the file's last block is packed.
    raw: Box<Raw>,
    /// Entries of a folder: name and number.
    entries: Option<Vec<(CString, u32)>>,
    mode: u16,
    owner: (u32, u32),
    mtime: u32,
    xattrs: u32,
    /// Number of names of this inode. For a folder: itself, its parent's entry and its subfolders.
    links: u32,
    /// Number of the folder that contains this folder.
    parent: u32,
    /// The place of the inode in the inode table.
    place: u64,
}

/// A SquashFS that is being written. The fields stand in the order in which they must be freed.
pub struct Writer {
    dirs: Object<sqfs_dir_writer_t>,
    entries: Object<sqfs_meta_writer_t>,
    inodes: Object<sqfs_meta_writer_t>,
    xattrs: Object<sqfs_xattr_writer_t>,
    ids: Object<sqfs_id_table_t>,
    blocks: Object<sqfs_block_processor_t>,
    blocks_written: Object<sqfs_block_writer_t>,
    fragments: Object<sqfs_frag_table_t>,
    /// Packs the blocks after [`Writer::remember`] or [`Writer::set_level`].
    _blocks_compressor: Option<Object<sqfs_compressor_t>>,
    /// Packs the tables, and the blocks before that.
    compressor: Object<sqfs_compressor_t>,
    file: Object<sqfs_file_t>,
    packing: Packing,
    remembered: Option<Arc<PackedBlocks>>,
    nodes: Vec<Pending>,
    superblock: sqfs_super_t,
    /// True if a file was begun and not ended. Nobody may look at that file's inode.
    is_torn: bool,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} inodes)", self.nodes.len())
    }
}

impl Writer {
    /// Begins an image at `out`, dated `epoch` (seconds since 1970). An existing file at `out` is
    /// overwritten.
    ///
    /// # Errors
    /// `out` cannot be written, or libsquashfs cannot pack in this way.
    pub fn create(out: &Path, epoch: u32, packing: Packing) -> Result<Self, Error> {
        let path = CString::new(out.as_os_str().as_encoded_bytes())?;
        let block = packing.block_size as usize;
        // SAFETY: these are plain numbers, and libsquashfs fills them in.
        let mut superblock: sqfs_super_t = unsafe { std::mem::zeroed() };
        // SAFETY: every pointer is to a local, or to an object that outlives the object that keeps
        // the pointer: see the order of the fields.
        unsafe {
            let file = sqfs_open_file(path.as_ptr(), SQFS_FILE_OPEN_FLAGS_SQFS_FILE_OPEN_OVERWRITE);
            let file = Object::new(file, "file")?;
            let id = packing.compressor.id();
            done("begin an image", sqfs_super_init(&raw mut superblock, block, epoch, id))?;
            let compressor = packing.compressor()?;
            done("write the superblock", sqfs_super_write(&raw const superblock, file.0))?;
            let options = (*compressor.0).write_options;
            let options =
                options.ok_or(Error::Misuse("libsquashfs's compressor has no options"))?;
            if done("write the compressor's options", options(compressor.0, file.0))? > 0 {
                superblock.flags |= SQFS_SUPER_FLAGS_SQFS_FLAG_COMPRESSOR_OPTIONS as u16;
            }
            let fragments = Object::new(sqfs_frag_table_create(0), "table of fragments")?;
            let written = Object::new(
                sqfs_block_writer_create(file.0, PADDED_TO as usize, 0),
                "writer of blocks",
            )?;
            let blocks = block_processor(block, &compressor, &written, &fragments)?;
            let ids = Object::new(sqfs_id_table_create(0), "table of owners")?;
            let xattrs = Object::new(sqfs_xattr_writer_create(0), "table of attributes")?;
            let inodes =
                Object::new(sqfs_meta_writer_create(file.0, compressor.0, 0), "writer of inodes")?;
            let in_memory = SQFS_META_WRITER_FLAGS_SQFS_META_WRITER_KEEP_IN_MEMORY;
            let entries = Object::new(
                sqfs_meta_writer_create(file.0, compressor.0, in_memory),
                "writer of names",
            )?;
            let export = SQFS_DIR_WRITER_CREATE_FLAGS_SQFS_DIR_WRITER_CREATE_EXPORT_TABLE;
            let dirs = Object::new(sqfs_dir_writer_create(entries.0, export), "writer of folders")?;
            Ok(Self {
                nodes: Vec::new(),
                dirs,
                entries,
                inodes,
                xattrs,
                ids,
                blocks,
                blocks_written: written,
                fragments,
                _blocks_compressor: None,
                compressor,
                file,
                packing,
                remembered: None,
                superblock,
                is_torn: false,
            })
        }
    }

    /// Takes the blocks of the files that are added from now on from `blocks`, if they are there,
    /// and puts the others there.
    ///
    /// # Errors
    /// The blocks before cannot be written.
    pub fn remember(&mut self, blocks: Arc<PackedBlocks>) -> Result<(), Error> {
        self.remembered = Some(blocks);
        self.set_level(self.packing.level)
    }

    /// Packs the contents of the files that are added from now on at another level.
    ///
    /// # Errors
    /// The blocks before cannot be written, or the compressor has no such level.
    pub fn set_level(&mut self, level: u8) -> Result<(), Error> {
        self.must_be_whole()?;
        let mut compressor = Packing { level, ..self.packing }.compressor()?;
        if let Some(blocks) = &self.remembered {
            compressor = remembering(compressor, level, blocks.clone());
        }
        // SAFETY: the objects belong to this writer. The old packer is freed before the compressor
        // that it was made with.
        unsafe {
            done("pack the last blocks", sqfs_block_processor_finish(self.blocks.0))?;
            let block = self.packing.block_size as usize;
            self.blocks =
                block_processor(block, &compressor, &self.blocks_written, &self.fragments)?;
        }
        self._blocks_compressor = Some(compressor);
        Ok(())
    }

    /// Adds an inode and returns its number, from 1 on. The caller adds the content of a folder
    /// before the folder, and adds the root last.
    ///
    /// # Errors
    /// The content cannot be read, the image cannot be written, or SquashFS or Linux has no such
    /// inode. If the content of a file could not be packed, this writer can no longer be used.
    pub fn add(&mut self, metadata: &Metadata<'_>, node: Node<'_>) -> Result<u32, Error> {
        self.must_be_whole()?;
        let number = u32::try_from(self.nodes.len() + 1)?;
        let mut pending = Pending {
            raw: Box::new(Raw::none()),
            entries: None,
            mode: metadata.mode & 0o7777,
            owner: (metadata.uid, metadata.gid),
            mtime: metadata.mtime,
            xattrs: self.add_xattrs(metadata.xattrs)?,
            links: 0,
            parent: number,
            place: 0,
        };
        match node {
            Node::File { content, watch } => {
                self.nodes.push(pending);
                self.is_torn = true;
                self.add_content(content, watch)?;
                self.is_torn = false;
                return Ok(number);
            }
            Node::Dir(entries) => {
                let folders = self.folders_among(entries)?;
                let name = |(name, number): &(&str, u32)| {
                    if name.len() > NAME_MAX {
                        return Err(Error::LongName((*name).to_owned()));
                    }
                    Ok((CString::new(*name)?, *number))
                };
                pending.entries = Some(entries.iter().map(name).collect::<Result<_, _>>()?);
                pending.links = 2 + u32::try_from(folders)?;
                self.nodes.push(pending);
                for &(_, entry) in entries {
                    let entry = &mut self.nodes[entry as usize - 1];
                    entry.parent = number;
                    entry.links += u32::from(entry.entries.is_none());
                }
                return Ok(number);
            }
            Node::Symlink(target) => *pending.raw = Raw::symlink(target)?,
            Node::CharDevice(major, minor) => {
                *pending.raw = Raw::device(SQFS_INODE_TYPE_SQFS_INODE_CDEV, major, minor)?;
            }
            Node::BlockDevice(major, minor) => {
                *pending.raw = Raw::device(SQFS_INODE_TYPE_SQFS_INODE_BDEV, major, minor)?;
            }
            Node::Fifo => *pending.raw = Raw::special(SQFS_INODE_TYPE_SQFS_INODE_FIFO, 0)?,
        }
        self.nodes.push(pending);
        Ok(number)
    }

    /// Returns how many of the entries are folders.
    fn folders_among(&self, entries: &[(&str, u32)]) -> Result<usize, Error> {
        let mut folders = 0;
        for (_, number) in entries {
            let node = (*number as usize).checked_sub(1).and_then(|index| self.nodes.get(index));
            let node = node.ok_or(Error::Misuse("a folder has an entry that was not added"))?;
            folders += usize::from(node.entries.is_some());
        }
        Ok(folders)
    }

    fn must_be_whole(&self) -> Result<(), Error> {
        if self.is_torn {
            return Err(Error::Misuse("an earlier file could not be packed"));
        }
        Ok(())
    }

    /// Packs the content of the last of `nodes`.
    fn add_content(
        &mut self,
        from: &mut dyn Read,
        watch: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let raw = &raw mut self.nodes.last_mut().ok_or(Error::Misuse("there is no file"))?.raw.0;
        // SAFETY: libsquashfs writes to `raw` until `finish` has packed the last block. `raw` lies
        // in a box of its own. The box stays in `nodes` as long as there is something to pack with.
        unsafe {
            done(
                "begin a file",
                sqfs_block_processor_begin_file(self.blocks.0, raw, null_mut(), 0),
            )?
        };
        let mut piece = vec![0; PIECE];
        loop {
            let got = from.read(&mut piece)?;
            if got == 0 {
                break;
            }
            // SAFETY: `piece` has `got` bytes, and libsquashfs copies them.
            unsafe {
                done(
                    "pack a file",
                    sqfs_block_processor_append(self.blocks.0, piece.as_ptr().cast(), got),
                )?
            };
            watch(got as u64);
        }
        // SAFETY: the file was begun above.
        unsafe { done("end a file", sqfs_block_processor_end_file(self.blocks.0))? };
        Ok(())
    }

    fn add_xattrs(&mut self, xattrs: &BTreeMap<String, Vec<u8>>) -> Result<u32, Error> {
        let mut index = NO_XATTRS;
        // SAFETY: libsquashfs copies names and values, and fills in `index`.
        unsafe {
            done("begin attributes", sqfs_xattr_writer_begin(self.xattrs.0, 0))?;
            for (name, value) in xattrs {
                let (key, value) = (CString::new(name.as_str())?, value.as_slice());
                let added = sqfs_xattr_writer_add(
                    self.xattrs.0,
                    key.as_ptr(),
                    value.as_ptr().cast(),
                    value.len(),
                );
                done(&format!("keep the attribute {name}"), added)?;
            }
            done("end attributes", sqfs_xattr_writer_end(self.xattrs.0, &raw mut index))?;
        }
        Ok(index)
    }

    /// Packs the blocks that wait, and writes the tables that stand behind the contents. Returns
    /// the size of the image in bytes. `out` is the path that [`Writer::create`] was given.
    ///
    /// # Errors
    /// There is no root folder, or the image cannot be written.
    pub fn finish(mut self, out: &Path) -> Result<u64, Error> {
        self.must_be_whole()?;
        if self.nodes.last().is_none_or(|root| root.entries.is_none()) {
            return Err(Error::Misuse("an image has at least its root folder"));
        }
        // SAFETY: the objects belong to this writer. Once the blocks are packed, only this function
        // has the inodes.
        unsafe {
            done("pack the last blocks", sqfs_block_processor_finish(self.blocks.0))?;
            self.superblock.inode_table_start = self.written()?;
            for index in 0..self.nodes.len() {
                self.write_inode(index)?;
            }
            let Self { superblock, file, compressor, nodes, .. } = &mut self;
            let (superblock, file, compressor) = (&raw mut *superblock, file.0, compressor.0);
            let root = nodes.last().ok_or(Error::Misuse("there is no root"))?.place;
            let count = u32::try_from(nodes.len())?;
            (*superblock).inode_count = count;
            (*superblock).root_inode_ref = root;
            done("write inodes", sqfs_meta_writer_flush(self.inodes.0))?;
            done("write folders", sqfs_meta_writer_flush(self.entries.0))?;
            (*superblock).directory_table_start = size(file)?;
            done("write folders", sqfs_meta_write_write_to_file(self.entries.0))?;
            let fragments = sqfs_frag_table_write(self.fragments.0, file, superblock, compressor);
            done("write the table of fragments", fragments)?;
            let export = sqfs_dir_writer_write_export_table(
                self.dirs.0,
                file,
                compressor,
                count,
                root,
                superblock,
            );
            done("write the table of inodes", export)?;
            done(
                "write the table of owners",
                sqfs_id_table_write(self.ids.0, file, superblock, compressor),
            )?;
            let xattrs = sqfs_xattr_writer_flush(self.xattrs.0, file, superblock, compressor);
            done("write the table of attributes", xattrs)?;
            (*superblock).bytes_used = size(file)?;
            done("write the superblock", sqfs_super_write(superblock, file))?;
        }
        let size = self.written()?.next_multiple_of(PADDED_TO);
        drop(self);
        File::options().write(true).open(out)?.set_len(size)?;
        Ok(size)
    }

    fn write_inode(&mut self, index: usize) -> Result<(), Error> {
        // SAFETY: the blocks are packed, so nobody else has the inodes. Each inode is of the type
        // that it was made with, and the type says what `data` is. Numbers in `entries` are of
        // inodes before this one.
        unsafe {
            if let Some(entries) = self.nodes[index].entries.take() {
                done("begin a folder", sqfs_dir_writer_begin(self.dirs.0, 0))?;
                for (name, number) in &entries {
                    let Pending { raw, place, .. } = &self.nodes[*number as usize - 1];
                    let mode = (*raw.0).base.mode;
                    let added = sqfs_dir_writer_add_entry(
                        self.dirs.0,
                        name.as_ptr(),
                        *number,
                        *place,
                        mode,
                    );
                    done("keep a name", added)?;
                }
                done("end a folder", sqfs_dir_writer_end(self.dirs.0))?;
                let Pending { raw, xattrs, parent, .. } = &mut self.nodes[index];
                raw.0 = sqfs_dir_writer_create_inode(self.dirs.0, 0, *xattrs, *parent);
                not_null(raw.0, "folder")?;
                raw.plain_folder();
            }
            let Pending { raw, mode, owner, mtime, xattrs, links, .. } = &mut self.nodes[index];
            done("keep attributes", sqfs_inode_set_xattr_index(raw.0, *xattrs))?;
            let type_bits = raw.link(*links)?;
            let raw = raw.0;
            let base = &raw mut (*raw).base;
            (*base).mode = type_bits | *mode;
            (*base).mod_time = *mtime;
            (*base).inode_number = u32::try_from(index + 1)?;
            let (uid, gid) = *owner;
            let (mut user, mut group) = (0, 0);
            done("keep an owner", sqfs_id_table_id_to_index(self.ids.0, uid, &raw mut user))?;
            done("keep a group", sqfs_id_table_id_to_index(self.ids.0, gid, &raw mut group))?;
            ((*base).uid_idx, (*base).gid_idx) = (user, group);
            let (mut block, mut offset) = (0, 0);
            sqfs_meta_writer_get_position(self.inodes.0, &raw mut block, &raw mut offset);
            self.nodes[index].place = block << 16 | u64::from(offset);
            done("write an inode", sqfs_meta_writer_write_inode(self.inodes.0, raw))?;
        }
        Ok(())
    }

    /// Returns the size of the image so far, in bytes.
    fn written(&self) -> Result<u64, Error> {
        // SAFETY: the file is open.
        unsafe { size(self.file.0) }
    }
}

impl Compressor {
    fn id(self) -> SQFS_COMPRESSOR {
        match self {
            Self::Zstd => SQFS_COMPRESSOR_SQFS_COMP_ZSTD,
            Self::Xz => SQFS_COMPRESSOR_SQFS_COMP_XZ,
        }
    }
}

impl Packing {
    /// Makes the object that packs a block.
    fn compressor(self) -> Result<Object<sqfs_compressor_t>, Error> {
        let (id, block) = (self.compressor.id(), self.block_size as usize);
        let doing = format!("use {:?}", self.compressor);
        // SAFETY: the configuration is plain numbers, and libsquashfs fills them in. It copies them
        // into the new object.
        unsafe {
            let mut config: sqfs_compressor_config_t = std::mem::zeroed();
            done(&doing, sqfs_compressor_config_init(&raw mut config, id, block, 0))?;
            config.level = self.level.into();
            let mut compressor = null_mut();
            done(&doing, sqfs_compressor_create(&raw const config, &raw mut compressor))?;
            Object::new(compressor, "compressor")
        }
    }
}

/// Makes the object that packs blocks of `block` bytes on all processors.
///
/// # Safety
/// The objects outlive the new one.
unsafe fn block_processor(
    block: usize,
    compressor: &Object<sqfs_compressor_t>,
    written: &Object<sqfs_block_writer_t>,
    fragments: &Object<sqfs_frag_table_t>,
) -> Result<Object<sqfs_block_processor_t>, Error> {
    let threads = available_parallelism().map_or(1, usize::from);
    // SAFETY: the caller keeps the objects. A machine has less than 2^32 processors.
    unsafe {
        let blocks = sqfs_block_processor_create(
            block,
            compressor.0,
            threads as u32,
            BACKLOG * threads,
            written.0,
            fragments.0,
        );
        Object::new(blocks, "packer of blocks")
    }
}

/// Returns the size of an open file, in bytes.
///
/// # Safety
/// `file` is an open file of libsquashfs.
unsafe fn size(file: *mut sqfs_file_t) -> Result<u64, Error> {
    // SAFETY: the caller has promised that the file is open.
    unsafe {
        let size = (*file).get_size.ok_or(Error::Misuse("libsquashfs's file has no size"))?;
        Ok(size(file))
    }
}
