//! Extended attributes of a path.
//!
//! Links are not followed. A file system that has no attributes has an empty list.

use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

/// Linux lets a list of names and a value have at most this many bytes (`linux/limits.h`).
const MAX_BYTES: usize = 65_536;

/// Returns names and values.
pub(crate) fn read(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut none: [u8; 0] = [];
    match llistxattr(path, &mut none[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let mut names = vec![0; MAX_BYTES];
    let length = llistxattr(path, &mut names[..])?;
    let mut value = vec![0; MAX_BYTES];
    let mut all = Vec::new();
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        match lgetxattr(path, name, &mut value[..]) {
            Ok(length) => all.push((name.to_bytes().to_vec(), value[..length].to_vec())),
            // It was removed in between.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

/// Sets an attribute. Returns false if the file system does not hold it.
pub(crate) fn set(path: &Path, name: &[u8], value: &[u8]) -> io::Result<bool> {
    let name = CString::new(name)?;
    match lsetxattr(path, name.as_c_str(), value, XattrFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
