//! Extended attributes of a path.
//!
//! Links are not followed. A file system that has no attributes has an empty list.

use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lgetxattr_query, llistxattr, llistxattr_query, lsetxattr};
use rustix::io::Errno;

/// Returns names and values of the attributes that are `wanted` by their names.
pub(crate) fn read(
    path: &Path,
    wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let length = match llistxattr_query(path) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = vec![0; length];
    let length = llistxattr(path, &mut names[..])?;
    let mut all = Vec::new();
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let c_name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        if !wanted(c_name.to_bytes()) {
            continue;
        }
        let mut value = vec![0; lgetxattr_query(path, c_name)?];
        let length = if value.is_empty() { 0 } else { lgetxattr(path, c_name, &mut value[..])? };
        value.truncate(length);
        all.push((c_name.to_bytes().to_vec(), value));
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
