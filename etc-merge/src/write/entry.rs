//! Makes one entry and gives it its metadata.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown, symlink,
};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, mknodat, utimensat,
};

use crate::error::Error;
use crate::limits::{Beat, beat};
use crate::tree::attributes;
use crate::tree::entry::Meta;

/// Bytes that are copied between two beats.
const PIECE: u64 = 1 << 20;

/// Makes a folder, unless `path` is an empty one already.
pub(super) fn top(path: &Path) -> io::Result<()> {
    match folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read_dir(path)?.next().is_some() {
                return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty));
            }
            Ok(())
        }
        result => result,
    }
}

/// Makes a folder that only its owner can enter, until it has its metadata.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes a file that only its owner can read, until it has its metadata.
pub(super) fn file(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a file with these bytes.
pub(super) fn bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    file(path)?.write_all(bytes)
}

/// Copies a regular file's content, and its time.
pub(super) fn copy(from: &Path, to: &Path, tick: Beat<'_>) -> Result<(), Error> {
    let mut source = File::open(from).map_err(Error::at("reading", from))?;
    let mut target = file(to).map_err(Error::at("writing", to))?;
    loop {
        // io::copy lets the kernel copy.
        let copied = io::copy(&mut (&mut source).take(PIECE), &mut target);
        if copied.map_err(Error::at("copying", from))? == 0 {
            return Ok(());
        }
        beat(tick)?;
    }
}

/// Makes a symbolic link.
pub(super) fn link(path: &Path, target: &[u8]) -> io::Result<()> {
    symlink(std::ffi::OsStr::from_bytes(target), path)
}

/// Makes a device, a FIFO or a socket.
pub(super) fn special(path: &Path, kind: u32, device: u64) -> io::Result<()> {
    Ok(mknodat(CWD, path, FileType::from_raw_mode(kind), Mode::RUSR | Mode::WUSR, device)?)
}

/// Hides the lower's entry. Every user may make this one device (Linux 5.8).
pub(super) fn whiteout(path: &Path) -> io::Result<()> {
    Ok(mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0)?)
}

/// Gives an entry its owner, mode and attributes. Returns the attributes that the file system does
/// not hold.
pub(super) fn set_meta(path: &Path, meta: &Meta) -> io::Result<Vec<Vec<u8>>> {
    // A change of owner clears set-id bits and capabilities, so it comes first.
    let made = fs::symlink_metadata(path)?;
    if (made.uid(), made.gid()) != (meta.uid, meta.gid) {
        lchown(path, Some(meta.uid), Some(meta.gid))?;
    }
    if !made.is_symlink() {
        fs::set_permissions(path, fs::Permissions::from_mode(meta.mode))?;
    }
    let mut not_held = Vec::new();
    for (name, value) in &meta.xattrs {
        if !attributes::set(path, name, value)? {
            not_held.push(name.clone());
        }
    }
    Ok(not_held)
}

/// Gives an entry the time of its content.
pub(super) fn set_time(path: &Path, stat: &Metadata) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: stat.mtime(), tv_nsec: stat.mtime_nsec() as _ },
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
