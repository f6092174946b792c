//! An inode in the form that libsquashfs has in memory.
//!
//! `writer` decides when it is written. libsquashfs frees inodes with `free`, so this file
//! allocates them with `calloc`.

// This file uses a C library's struct with a union in it.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use crate::error::{Error, done};
use crate::library::*;

/// An inode that libsquashfs or this file has allocated.
pub(crate) struct Raw(pub(crate) *mut sqfs_inode_generic_t);

impl Raw {
    /// Returns an inode that is not allocated yet.
    pub(crate) fn none() -> Self {
        Self(null_mut())
    }

    /// Returns an inode without content, with room for `extra` bytes behind it.
    pub(crate) fn special(kind: SQFS_INODE_TYPE, extra: usize) -> Result<Self, Error> {
        // SAFETY: zeros are valid for the numbers of an inode, and libsquashfs frees what `calloc`
        // has made.
        unsafe {
            let raw: *mut sqfs_inode_generic_t =
                calloc(1, (size_of::<sqfs_inode_generic_t>() + extra) as u64).cast();
            if raw.is_null() {
                return Err(Error::Misuse("no memory for an inode"));
            }
            (*raw).base.type_ = u16::try_from(kind)?;
            (*raw).payload_bytes_available = u32::try_from(extra)?;
            (*raw).payload_bytes_used = u32::try_from(extra)?;
            Ok(Self(raw))
        }
    }

    pub(crate) fn symlink(target: &str) -> Result<Self, Error> {
        let raw = Self::special(SQFS_INODE_TYPE_SQFS_INODE_SLINK, target.len())?;
        // SAFETY: `special` has made the inode, with room for the target behind it.
        unsafe {
            (*raw.0).data.slink.target_size = u32::try_from(target.len())?;
            let room = (&raw mut (*raw.0).extra).cast::<u8>();
            room.copy_from_nonoverlapping(target.as_ptr(), target.len());
        }
        Ok(raw)
    }

    /// Returns a device node. Its number has the layout of the kernel's `new_encode_dev`.
    pub(crate) fn device(kind: SQFS_INODE_TYPE, major: u32, minor: u32) -> Result<Self, Error> {
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(Error::NoDevice(major, minor));
        }
        let raw = Self::special(kind, 0)?;
        // SAFETY: `special` has made the inode.
        unsafe {
            (*raw.0).data.dev.devno = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
        };
        Ok(raw)
    }

    /// Gives a folder's inode the same form with every release of libsquashfs: without an index of
    /// its names, and the short form if that is enough. 1.2 and 1.3 choose differently.
    pub(crate) fn plain_folder(&mut self) {
        // SAFETY: the type says which form `data` has. The long form is copied before the short one
        // is written over it.
        unsafe {
            let raw = &mut *self.0;
            if u32::from(raw.base.type_) != SQFS_INODE_TYPE_SQFS_INODE_EXT_DIR {
                return;
            }
            raw.payload_bytes_used = 0;
            raw.data.dir_ext.inodex_count = 0;
            let long = raw.data.dir_ext;
            let Ok(size) = u16::try_from(long.size) else { return };
            if long.xattr_idx != u32::MAX {
                return;
            }
            raw.base.type_ = SQFS_INODE_TYPE_SQFS_INODE_DIR as u16;
            raw.data.dir.start_block = long.start_block;
            raw.data.dir.nlink = long.nlink;
            raw.data.dir.size = size;
            raw.data.dir.offset = long.offset;
            raw.data.dir.parent_inode = long.parent_inode;
        }
    }

    /// Sets the count of the inode's names. Returns the bits of its type in a mode.
    pub(crate) fn link(&mut self, links: u32) -> Result<u16, Error> {
        // SAFETY: the type says which form `data` has. The type is read after the last call that
        // may have changed it.
        unsafe {
            let is_file =
                matches!(u32::from((*self.0).base.type_), SQFS_INODE_TYPE_SQFS_INODE_FILE);
            if is_file && links > 1 {
                done("keep hard links", sqfs_inode_make_extended(self.0))?;
            }
            let data = &raw mut (*self.0).data;
            let type_bits = match u32::from((*self.0).base.type_) {
                // The short form of a file has no count and means one name.
                SQFS_INODE_TYPE_SQFS_INODE_FILE => SQFS_INODE_MODE_SQFS_INODE_MODE_REG,
                SQFS_INODE_TYPE_SQFS_INODE_EXT_FILE => {
                    (*data).file_ext.nlink = links;
                    SQFS_INODE_MODE_SQFS_INODE_MODE_REG
                }
                SQFS_INODE_TYPE_SQFS_INODE_DIR => {
                    (*data).dir.nlink = links;
                    SQFS_INODE_MODE_SQFS_INODE_MODE_DIR
                }
                SQFS_INODE_TYPE_SQFS_INODE_EXT_DIR => {
                    (*data).dir_ext.nlink = links;
                    SQFS_INODE_MODE_SQFS_INODE_MODE_DIR
                }
                SQFS_INODE_TYPE_SQFS_INODE_SLINK | SQFS_INODE_TYPE_SQFS_INODE_EXT_SLINK => {
                    (*data).slink.nlink = links; // the first field of both forms
                    SQFS_INODE_MODE_SQFS_INODE_MODE_LNK
                }
                SQFS_INODE_TYPE_SQFS_INODE_CDEV | SQFS_INODE_TYPE_SQFS_INODE_EXT_CDEV => {
                    (*data).dev.nlink = links;
                    SQFS_INODE_MODE_SQFS_INODE_MODE_CHR
                }
                SQFS_INODE_TYPE_SQFS_INODE_BDEV | SQFS_INODE_TYPE_SQFS_INODE_EXT_BDEV => {
                    (*data).dev.nlink = links;
                    SQFS_INODE_MODE_SQFS_INODE_MODE_BLK
                }
                _ => {
                    (*data).ipc.nlink = links;
                    SQFS_INODE_MODE_SQFS_INODE_MODE_FIFO
                }
            };
            Ok(u16::try_from(type_bits)?)
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the pointer is null or came from `malloc`, and nobody else has it any more.
        unsafe { sqfs_free(self.0.cast()) }
    }
}
