//! Writes a SquashFS with libsquashfs: first the contents of files, then everything that describes
//! them.
//!
//! The same calls in the same order give the same bytes, however many processors pack them.

// A C library. Each of its objects belongs to one [`Writer`], which takes part in every call by
// `&mut`.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::ptr::null_mut;
use std::thread::available_parallelism;

use anyhow::{Context, Result, anyhow, ensure};

use super::inode::Raw;
use super::library::*;
use crate::tree::{Inode, Kind};

/// An image ends at a multiple of this, in bytes: the block of a disk.
const PADDED_TO: u64 = 4096;
/// No extended attributes.
const NO_XATTRS: u32 = u32::MAX;
/// Bytes handed over at once.
const PIECE: usize = 128 << 10;
/// Blocks that wait for each thread that packs.
const BACKLOG: usize = 10;

/// An object of libsquashfs, which is freed with its own function.
struct Object<T>(*mut T);

impl<T> Object<T> {
    fn new(object: *mut T, what: &str) -> Result<Self> {
        ensure!(!object.is_null(), "libsquashfs makes no {what}: {}", io::Error::last_os_error());
        Ok(Self(object))
    }
}

impl<T> Drop for Object<T> {
    fn drop(&mut self) {
        let object: *mut sqfs_object_t = self.0.cast();
        // SAFETY: every object of libsquashfs begins with a `sqfs_object_t`, and this one is used
        // no more.
        unsafe {
            if let Some(destroy) = (*object).destroy {
                destroy(object);
            }
        }
    }
}

/// An inode that is written at the end, with what libsquashfs does not know of it yet.
struct Node {
    /// Boxed: libsquashfs keeps the address of this field of a file until its last block is packed.
    raw: Box<Raw>,
    /// Entries of a folder: name and number.
    entries: Option<Vec<(CString, u32)>>,
    mode: u16,
    owner: (u32, u32),
    mtime: u32,
    xattrs: u32,
    /// Names of this inode; of a folder, itself and its parent and its folders.
    links: u32,
    /// Number of the folder that a folder lies in.
    parent: u32,
    /// Where it lies in the inode table.
    place: u64,
}

/// A SquashFS that is being written. The fields stand in the order in which they must be freed.
pub(super) struct Writer {
    dirs: Object<sqfs_dir_writer_t>,
    entries: Object<sqfs_meta_writer_t>,
    inodes: Object<sqfs_meta_writer_t>,
    xattrs: Object<sqfs_xattr_writer_t>,
    ids: Object<sqfs_id_table_t>,
    blocks: Object<sqfs_block_processor_t>,
    _blocks_written: Object<sqfs_block_writer_t>,
    fragments: Object<sqfs_frag_table_t>,
    compressor: Object<sqfs_compressor_t>,
    file: Object<sqfs_file_t>,
    nodes: Vec<Node>,
    superblock: sqfs_super_t,
}

impl Writer {
    /// Begins an image at `out`, dated `epoch` (seconds since 1970), whose blocks are zstd frames
    /// of `level`.
    pub(super) fn create(out: &Path, epoch: u32, level: u8) -> Result<Self> {
        let path = CString::new(out.as_os_str().as_encoded_bytes())?;
        let block = SQFS_DEFAULT_BLOCK_SIZE as usize;
        let zstd = SQFS_COMPRESSOR_SQFS_COMP_ZSTD;
        let threads = available_parallelism().map_or(1, usize::from);
        // SAFETY: both are plain numbers, and libsquashfs fills them in.
        let (mut superblock, mut config): (sqfs_super_t, sqfs_compressor_config_t) =
            unsafe { std::mem::zeroed() };
        // SAFETY: every pointer is to a local or to an object that outlives the one that keeps it:
        // see the order of the fields.
        unsafe {
            let file = sqfs_open_file(path.as_ptr(), SQFS_FILE_OPEN_FLAGS_SQFS_FILE_OPEN_OVERWRITE);
            let file = Object::new(file, "file")?;
            done("begin an image", sqfs_super_init(&raw mut superblock, block, epoch, zstd))?;
            done("use zstd", sqfs_compressor_config_init(&raw mut config, zstd, block, 0))?;
            config.level = level.into();
            let mut compressor = null_mut();
            done("use zstd", sqfs_compressor_create(&raw const config, &raw mut compressor))?;
            let compressor = Object::new(compressor, "compressor")?;
            done("write the superblock", sqfs_super_write(&raw const superblock, file.0))?;
            let options =
                (*compressor.0).write_options.context("libsquashfs's zstd has no options")?;
            if done("write zstd's options", options(compressor.0, file.0))? > 0 {
                superblock.flags |= SQFS_SUPER_FLAGS_SQFS_FLAG_COMPRESSOR_OPTIONS as u16;
            }
            let fragments = Object::new(sqfs_frag_table_create(0), "table of fragments")?;
            let written = Object::new(
                sqfs_block_writer_create(file.0, PADDED_TO as usize, 0),
                "writer of blocks",
            )?;
            let blocks = sqfs_block_processor_create(
                block,
                compressor.0,
                threads as u32, // a machine has less than 2^32
                BACKLOG * threads,
                written.0,
                fragments.0,
            );
            let blocks = Object::new(blocks, "packer of blocks")?;
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
                _blocks_written: written,
                fragments,
                compressor,
                file,
                superblock,
            })
        }
    }

    /// Adds an inode and returns its number, from 1 on. What a folder holds (`entries`, names and
    /// numbers, sorted by name) is added before it; the last inode is the root. `watch` sees how
    /// many bytes of a file have been handed over.
    pub(super) fn add(
        &mut self,
        inode: &Inode,
        entries: &[(&str, u32)],
        watch: &mut dyn FnMut(u64),
    ) -> Result<u32> {
        let number = u32::try_from(self.nodes.len() + 1)?;
        let is_folder = |number: u32| self.nodes[number as usize - 1].entries.is_some();
        let folders = entries.iter().filter(|(_, number)| is_folder(*number)).count();
        let mut node = Node {
            raw: Box::new(Raw::none()),
            entries: None,
            mode: inode.mode,
            owner: (inode.uid, inode.gid),
            mtime: inode.mtime,
            xattrs: self.add_xattrs(inode)?,
            links: 0,
            parent: number,
            place: 0,
        };
        match &inode.kind {
            Kind::File(_) => {}
            Kind::Dir => {
                let name = |(name, number): &(&str, u32)| Ok((CString::new(*name)?, *number));
                node.entries = Some(entries.iter().map(name).collect::<Result<_>>()?);
                node.links = 2 + u32::try_from(folders)?;
            }
            Kind::Symlink(target) => *node.raw = Raw::symlink(target)?,
            Kind::CharDevice(major, minor) => {
                *node.raw = Raw::device(SQFS_INODE_TYPE_SQFS_INODE_CDEV, *major, *minor)?
            }
            Kind::BlockDevice(major, minor) => {
                *node.raw = Raw::device(SQFS_INODE_TYPE_SQFS_INODE_BDEV, *major, *minor)?
            }
            Kind::Fifo => *node.raw = Raw::special(SQFS_INODE_TYPE_SQFS_INODE_FIFO, 0)?,
        }
        self.nodes.push(node);
        for &(_, entry) in entries {
            let entry = &mut self.nodes[entry as usize - 1];
            entry.parent = number;
            entry.links += u32::from(entry.entries.is_none());
        }
        if let Kind::File(content) = &inode.kind {
            self.add_content(&mut content.reader(), watch)?;
        }
        Ok(number)
    }

    /// Packs the content of the last of `nodes`.
    fn add_content(&mut self, from: &mut dyn Read, watch: &mut dyn FnMut(u64)) -> Result<()> {
        let raw = &raw mut self.nodes.last_mut().context("no file")?.raw.0;
        // SAFETY: libsquashfs writes to `raw` until `finish` has packed the last block. It lies in
        // a box of its own, which stays in `nodes` as long as there is something to pack with.
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
            // SAFETY: `piece` has `got` bytes, which are copied.
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

    fn add_xattrs(&mut self, inode: &Inode) -> Result<u32> {
        let mut index = NO_XATTRS;
        // SAFETY: names and values are copied; `index` is filled in.
        unsafe {
            done("begin attributes", sqfs_xattr_writer_begin(self.xattrs.0, 0))?;
            for (name, value) in &inode.xattrs {
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

    /// Packs what waits and writes everything that stands behind the contents. Returns the size of
    /// the image in bytes.
    pub(super) fn finish(mut self, out: &Path) -> Result<u64> {
        // SAFETY: the objects are this writer's own. Once the blocks are packed, nothing but this
        // function has the inodes.
        unsafe {
            done("pack the last blocks", sqfs_block_processor_finish(self.blocks.0))?;
            self.superblock.inode_table_start = self.written()?;
            for index in 0..self.nodes.len() {
                self.write_inode(index)?;
            }
            let Self { superblock, file, compressor, nodes, .. } = &mut self;
            let (superblock, file, compressor) = (&raw mut *superblock, file.0, compressor.0);
            let root = nodes.last().context("an image has at least its root folder")?.place;
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

    fn write_inode(&mut self, index: usize) -> Result<()> {
        // SAFETY: the blocks are packed, so nobody else has the inodes; each is of the type that it
        // was made with, which says what `data` is. Numbers in `entries` are of inodes before this
        // one.
        unsafe {
            if let Some(entries) = self.nodes[index].entries.take() {
                done("begin a folder", sqfs_dir_writer_begin(self.dirs.0, 0))?;
                for (name, number) in &entries {
                    let Node { raw, place, .. } = &self.nodes[*number as usize - 1];
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
                let Node { raw, xattrs, parent, .. } = &mut self.nodes[index];
                raw.0 = sqfs_dir_writer_create_inode(self.dirs.0, 0, *xattrs, *parent);
                ensure!(
                    !raw.0.is_null(),
                    "libsquashfs makes no folder: {}",
                    io::Error::last_os_error()
                );
            }
            let Node { raw, mode, owner, mtime, xattrs, links, .. } = &mut self.nodes[index];
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

    /// Bytes of the image so far.
    fn written(&self) -> Result<u64> {
        // SAFETY: the file is open.
        unsafe { size(self.file.0) }
    }
}

/// Bytes of an open file.
unsafe fn size(file: *mut sqfs_file_t) -> Result<u64> {
    // SAFETY: as of the caller.
    unsafe {
        let size = (*file).get_size.context("libsquashfs's file has no size")?;
        Ok(size(file))
    }
}

/// What libsquashfs answered, if it is no error.
pub(super) fn done(what: &str, answer: c_int) -> Result<c_int> {
    match answer {
        0.. => Ok(answer),
        SQFS_ERROR_SQFS_ERROR_IO => {
            Err(io::Error::last_os_error()).context(format!("libsquashfs cannot {what}"))
        }
        code => Err(anyhow!("libsquashfs cannot {what} (its error {code}, of sqfs/error.h)")),
    }
}
