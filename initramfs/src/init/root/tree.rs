//! Copies a tree with all that a file system keeps.
//!
//! `fill` and `upper` say which tree. The copy keeps owners, modes, times, extended attributes,
//! links and devices.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, lchown,
};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::libc;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;

use crate::kernel::sys;

/// Overlayfs's notes on the origin of a file in an upper. They hold only for the lower under the
/// upper, so they are not copied (`Documentation/filesystems/overlayfs.rst`).
const OF_ITS_LOWER: [&[u8]; 5] = [
    b"trusted.overlay.origin",
    b"trusted.overlay.impure",
    b"trusted.overlay.nlink",
    b"trusted.overlay.upper",
    b"trusted.overlay.uuid",
];

/// Copies trees of one file system. Files that are one file by hard links stay one.
pub(crate) struct TreeCopy<'a> {
    links: HashMap<(u64, u64), PathBuf>,
    /// A function that is called often, so that it can feed a watchdog.
    tick: &'a dyn Fn(),
}

impl<'a> TreeCopy<'a> {
    pub(crate) fn new(tick: &'a dyn Fn()) -> Self {
        Self { links: HashMap::new(), tick }
    }

    /// Copies `from` to `to`. `to` must not exist, and its parent must. The copy is durable only
    /// after a sync.
    pub(crate) fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        (self.tick)();
        self.copy_one(from, to)
            .with_context(|| format!("copying {} to {}", from.display(), to.display()))
    }

    fn copy_one(&mut self, from: &Path, to: &Path) -> Result<()> {
        let metadata = fs::symlink_metadata(from)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            DirBuilder::new().mode(0o700).create(to)?;
            for entry in fs::read_dir(from)? {
                let name = entry?.file_name();
                self.copy(&from.join(&name), &to.join(&name))?;
            }
            return copy_metadata(from, &metadata, to);
        }
        if metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&(metadata.dev(), metadata.ino())) {
                return Ok(fs::hard_link(first, to)?);
            }
            self.links.insert((metadata.dev(), metadata.ino()), to.to_owned());
        }
        if kind.is_file() {
            self.copy_content(from, to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
        } else {
            let flag = match kind {
                kind if kind.is_char_device() => SFlag::S_IFCHR,
                kind if kind.is_block_device() => SFlag::S_IFBLK,
                kind if kind.is_fifo() => SFlag::S_IFIFO,
                _ => SFlag::S_IFSOCK,
            };
            mknod(to, flag, Mode::from_bits_truncate(0o600), metadata.rdev())?;
        }
        copy_metadata(from, &metadata, to)
    }

    fn copy_content(&self, from: &Path, to: &Path) -> io::Result<()> {
        let from = File::open(from)?;
        let mut to = File::options().write(true).create_new(true).mode(0o600).open(to)?;
        while io::copy(&mut (&from).take(16 << 20), &mut to)? > 0 {
            (self.tick)();
        }
        Ok(())
    }
}

/// Gives `to` the owner, mode, extended attributes and times of `from`.
pub(crate) fn copy_metadata(from: &Path, metadata: &Metadata, to: &Path) -> Result<()> {
    // The order matters. A change of owner clears set-id bits and capabilities. The times come
    // last, because every other change may alter them.
    let made = fs::symlink_metadata(to)?;
    if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
        lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    if !metadata.is_symlink() {
        fs::set_permissions(to, metadata.permissions())?;
    }
    for name in sys::list_xattrs(from)? {
        if !OF_ITS_LOWER.contains(&name.to_bytes()) {
            copy_xattr(from, &name, to)?;
        }
    }
    let time = |seconds, nanoseconds| TimeSpec::new(seconds, nanoseconds);
    let accessed = time(metadata.atime(), metadata.atime_nsec());
    let modified = time(metadata.mtime(), metadata.mtime_nsec());
    utimensat(AT_FDCWD, to, &accessed, &modified, UtimensatFlags::NoFollowSymlink)?;
    Ok(())
}

fn copy_xattr(from: &Path, name: &CStr, to: &Path) -> Result<()> {
    let value = sys::get_xattr(from, name)?;
    match sys::set_xattr(to, name, &value) {
        // A file system in memory holds only some kinds of attributes. An ordinary user may not set
        // the attributes of the system.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        other => other.with_context(|| format!("setting {}", name.to_string_lossy())),
    }
}

/// Makes everything durable that was written to the file system of `path`.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let context = || format!("syncing the file system of {}", path.display());
    let directory = File::open(path).with_context(context)?;
    nix::unistd::syncfs(&directory).with_context(context)
}

/// Removes a tree, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Returns true if something has this name, even a dangling link.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
    }
}

/// Replaces a small file at once and durably.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<()> {
    let context = || format!("writing {}", path.display());
    let aside = path.with_extension("new");
    let write = || -> Result<(), io::Error> {
        fs::write(&aside, content)?;
        File::open(&aside)?.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().with_context(context)
}

/// Exchanges two paths, or moves `from` if there is no `to` yet. `to` is never missing and never
/// half there.
pub(crate) fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    use nix::fcntl::{RenameFlags, renameat2};
    let result = match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_EXCHANGE) {
        Err(Errno::ENOENT) => fs::rename(from, to).map_err(anyhow::Error::from),
        other => other.map_err(anyhow::Error::from),
    };
    result.with_context(|| format!("moving {} to {}", from.display(), to.display()))
}
