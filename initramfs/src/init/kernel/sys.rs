//! System calls that neither nix nor sys-mount has.
//!
//! The callers decide when to make them. All unsafe code of `daruma-init` is in this file.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

/// Bytes of `struct dm_ioctl` (`linux/dm-ioctl.h`), which is part of the request's number.
pub(crate) const DM_HEADER: usize = 312;

fn done(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs one device-mapper command. `buffer` starts with a `struct dm_ioctl` and comes back changed.
pub(crate) fn device_mapper(control: &File, command: u8, buffer: &mut [u8]) -> io::Result<()> {
    assert!(buffer.len() >= DM_HEADER);
    // The kernel believes the header's own data_size (bytes 12 to 15).
    let size = u32::try_from(buffer.len()).map_err(io::Error::other)?;
    buffer[12..16].copy_from_slice(&size.to_ne_bytes());
    let request = nix::request_code_readwrite!(0xfd, command, DM_HEADER);
    // SAFETY: the kernel reads and writes at most data_size bytes, which was just set to the
    // buffer's length.
    done(unsafe { libc::ioctl(control.as_raw_fd(), request, buffer.as_mut_ptr()) })
}

/// WDIOC_SETTIMEOUT: asks for a timeout in seconds, and returns the timeout that the hardware took.
pub(crate) fn watchdog_timeout(watchdog: &File, timeout_s: u32) -> io::Result<u32> {
    let mut seconds = libc::c_int::try_from(timeout_s).unwrap_or(libc::c_int::MAX);
    let request = nix::request_code_readwrite!(b'W', 6, size_of::<libc::c_int>());
    // SAFETY: the request reads and writes one int, which lives across the call.
    done(unsafe { libc::ioctl(watchdog.as_raw_fd(), request, &raw mut seconds) })?;
    Ok(u32::try_from(seconds).unwrap_or(0))
}

#[repr(C)]
struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    names: [u8; 128],
}

#[repr(C)]
struct BlkpgArgument {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *mut BlkpgPartition,
}

/// BLKPG_RESIZE_PARTITION: tells the kernel a mounted partition's new length. `start` must stay.
/// All numbers are bytes.
pub(crate) fn resize_partition(
    disk: &File,
    number: u32,
    start: u64,
    length: u64,
) -> io::Result<()> {
    let signed = |value: u64| i64::try_from(value).map_err(io::Error::other);
    let mut partition = BlkpgPartition {
        start: signed(start)?,
        length: signed(length)?,
        number: libc::c_int::try_from(number).map_err(io::Error::other)?,
        names: [0; 128],
    };
    let data = &raw mut partition;
    let length = libc::c_int::try_from(size_of::<BlkpgPartition>()).map_err(io::Error::other)?;
    let argument = BlkpgArgument { operation: 3, flags: 0, length, data };
    let request = nix::request_code_none!(0x12, 105);
    // SAFETY: the structures are laid out as in linux/blkpg.h and live across the call.
    done(unsafe { libc::ioctl(disk.as_raw_fd(), request, &raw const argument) })
}

/// EXT4_IOC_RESIZE_FS: grows a mounted ext4 to this many blocks of its own size.
pub(crate) fn resize_ext4(mounted: &File, mut blocks: u64) -> io::Result<()> {
    let request = nix::request_code_write!(b'f', 16, size_of::<u64>());
    // SAFETY: the request reads one u64, which lives across the call.
    done(unsafe { libc::ioctl(mounted.as_raw_fd(), request, &raw mut blocks) })
}

/// FS_IOC_GETFLAGS and FS_IOC_SETFLAGS: lets a file or folder be changed and removed again, if
/// somebody has made it immutable or append-only (`chattr +i`, `+a`).
pub(crate) fn make_mutable(file: &File) -> io::Result<()> {
    const IMMUTABLE_APPEND: libc::c_int = 0x10 | 0x20;
    let mut flags: libc::c_int = 0;
    // The kernel takes an int, and the number says long (linux/fs.h).
    let get = nix::request_code_read!(b'f', 1, size_of::<libc::c_long>());
    let set = nix::request_code_write!(b'f', 2, size_of::<libc::c_long>());
    // SAFETY: the request writes one int, which lives across the call.
    done(unsafe { libc::ioctl(file.as_raw_fd(), get, &raw mut flags) })?;
    flags &= !IMMUTABLE_APPEND;
    // SAFETY: the request reads one int, which lives across the call.
    done(unsafe { libc::ioctl(file.as_raw_fd(), set, &raw const flags) })
}

/// Returns the names of a file's extended attributes. For a symbolic link they are the link's own.
/// The list is empty if the file system has none.
pub(crate) fn list_xattrs(path: &Path) -> io::Result<Vec<CString>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the kernel writes at most `size` bytes to `buffer`; with size 0 it only counts.
    let names =
        grown(|buffer, size| unsafe { libc::llistxattr(path.as_ptr(), buffer.cast(), size) });
    match names {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(names) => Ok(names.split_inclusive(|byte| *byte == 0).filter_map(nul_ended).collect()),
    }
}

/// Returns the value of an extended attribute. For a symbolic link it is the link's own.
pub(crate) fn get_xattr(path: &Path, name: &CStr) -> io::Result<Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the kernel writes at most `size` bytes to `buffer`; with size 0 it only counts.
    grown(|buffer, size| unsafe {
        libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.cast(), size)
    })
}

/// Sets an extended attribute. For a symbolic link it is the link's own.
pub(crate) fn set_xattr(path: &Path, name: &CStr, value: &[u8]) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both names end in NUL and the kernel reads `value.len()` bytes of the value.
    done(unsafe {
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    })
}

fn nul_ended(bytes: &[u8]) -> Option<CString> {
    CStr::from_bytes_with_nul(bytes).ok().map(CStr::to_owned)
}

/// Asks the kernel for the size, then for the bytes.
fn grown(ask: impl Fn(*mut u8, usize) -> libc::ssize_t) -> io::Result<Vec<u8>> {
    let size =
        usize::try_from(ask(std::ptr::null_mut(), 0)).map_err(|_| io::Error::last_os_error())?;
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; size];
    let size =
        usize::try_from(ask(bytes.as_mut_ptr(), size)).map_err(|_| io::Error::last_os_error())?;
    bytes.truncate(size);
    Ok(bytes)
}
