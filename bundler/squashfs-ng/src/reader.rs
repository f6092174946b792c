//! Reads one file of a finished image.
//!
//! The caller trusts the image: libsquashfs is C, and is not to see what a stranger has made.

// This file calls a C library and looks at an inode that it has made.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::path::Path;
use std::ptr::{null, null_mut};

use crate::error::{Error, done};
use crate::inode::Raw;
use crate::library::*;
use crate::object::Object;

/// Returns the content of the file `path` of the SquashFS in the file `image`. Returns `None` if
/// the image has no such file, or if it is a link or a folder.
///
/// # Errors
/// The image cannot be read, or the file has more than `most` bytes.
pub fn read_file(image: &Path, path: &str, most: usize) -> Result<Option<Vec<u8>>, Error> {
    let image = CString::new(image.as_os_str().as_encoded_bytes())?;
    let path = CString::new(path)?;
    // SAFETY: both are plain numbers, and libsquashfs fills them in.
    let (mut superblock, mut config): (sqfs_super_t, sqfs_compressor_config_t) =
        unsafe { std::mem::zeroed() };
    // SAFETY: every pointer is to a local, or to an object that is dropped after the objects that
    // keep the pointer: locals are dropped in the opposite order. The inode is one of libsquashfs.
    // The buffer has as many bytes as libsquashfs is told.
    unsafe {
        let flags = SQFS_FILE_OPEN_FLAGS_SQFS_FILE_OPEN_READ_ONLY;
        let file = Object::new(sqfs_open_file(image.as_ptr(), flags), "file")?;
        done("read the superblock", sqfs_super_read(&raw mut superblock, file.0))?;
        let (kind, block) = (superblock.compression_id, superblock.block_size as usize);
        let unpack = SQFS_COMP_FLAG_SQFS_COMP_FLAG_UNCOMPRESS as u16;
        let answer = sqfs_compressor_config_init(
            &raw mut config,
            SQFS_COMPRESSOR::from(kind),
            block,
            unpack,
        );
        done("use the image's compression", answer)?;
        let mut compressor = null_mut();
        let answer = sqfs_compressor_create(&raw const config, &raw mut compressor);
        done("use the image's compression", answer)?;
        let compressor = Object::new(compressor, "compressor")?;
        let folders = sqfs_dir_reader_create(&raw const superblock, compressor.0, file.0, 0);
        let folders = Object::new(folders, "reader of folders")?;
        let mut inode = Raw::none();
        let answer =
            sqfs_dir_reader_find_by_path(folders.0, null(), path.as_ptr(), &raw mut inode.0);
        if matches!(answer, SQFS_ERROR_SQFS_ERROR_NO_ENTRY | SQFS_ERROR_SQFS_ERROR_NOT_DIR) {
            return Ok(None);
        }
        done("find a file", answer)?;
        let kind = u32::from((*inode.0).base.type_);
        if !matches!(kind, SQFS_INODE_TYPE_SQFS_INODE_FILE | SQFS_INODE_TYPE_SQFS_INODE_EXT_FILE) {
            return Ok(None);
        }
        let mut size = 0;
        done("size a file", sqfs_inode_get_file_size(inode.0, &raw mut size))?;
        let size = usize::try_from(size)?;
        if size > most {
            return Err(Error::Misuse("the file is longer than its reader allows"));
        }
        let data = sqfs_data_reader_create(file.0, block, compressor.0, 0);
        let data = Object::new(data, "reader of files")?;
        let answer = sqfs_data_reader_load_fragment_table(data.0, &raw const superblock);
        done("read the table of fragments", answer)?;
        let mut content = vec![0; size];
        let mut read = 0;
        while read < size {
            let rest = &mut content[read..];
            let length = u32::try_from(rest.len().min(1 << 20))?;
            let buffer = rest.as_mut_ptr().cast();
            let answer = sqfs_data_reader_read(data.0, inode.0, read as u64, buffer, length);
            match done("read a file", answer)? {
                0 => return Err(Error::Misuse("the file is shorter than its inode says")),
                // `done` lets no negative number through.
                more => read += usize::try_from(more)?,
            }
        }
        Ok(Some(content))
    }
}
