//! Small steps around mount(2).
//!
//! `plan` says what is mounted where. An error names what was mounted and the place.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use sys_mount::{Mount, MountFlags};

/// Mounts `source` at `target`. Makes `target` if it is not there. `options` may be empty.
pub(crate) fn mount(
    kind: &str,
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    flags: MountFlags,
    options: &str,
) -> Result<()> {
    let (source, target) = (source.as_ref(), target.as_ref());
    // A read-only image either has the mount point or has none, and the mount below reports it.
    let _ = fs::create_dir_all(target);
    let mount = Mount::builder().fstype(kind).flags(flags);
    let mount = if options.is_empty() { mount } else { mount.data(options) };
    let context = || format!("mounting {} ({kind}) on {}", source.display(), target.display());
    mount.mount(source, target).map(drop).with_context(context)
}

/// Mounts memory as a file system.
pub(crate) fn tmpfs(target: &Path) -> Result<()> {
    mount("tmpfs", "tmpfs", target, MountFlags::empty(), "mode=755")
}

/// Unmounts a file system that nothing uses.
pub(crate) fn unmount(target: &Path) -> Result<()> {
    umount2(target, MntFlags::empty()).with_context(|| format!("unmounting {}", target.display()))
}

/// Moves a mount, and all that is mounted below it.
pub(crate) fn move_to(from: &Path, to: &Path) -> Result<()> {
    let moved = Mount::builder().fstype("none").flags(MountFlags::MOVE).mount(from, to);
    moved
        .map(drop)
        .with_context(|| format!("moving the mount {} to {}", from.display(), to.display()))
}

/// An OverlayFS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Overlay {
    /// The lower folders, the topmost first.
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
}

impl Overlay {
    pub(crate) fn mount(&self, target: &Path) -> Result<()> {
        mount("overlay", "overlay", target, MountFlags::empty(), &self.options())
    }

    /// Returns the mount options. None of the paths holds a comma or a colon, because this program
    /// makes them all. `index` and similar options are off. They would tie an upper to one lower,
    /// and an upper here outlives its image.
    pub(crate) fn options(&self) -> String {
        let lower: Vec<String> = self.lower.iter().map(|path| path.display().to_string()).collect();
        let (upper, work) = (self.upper.display(), self.work.display());
        let lower = lower.join(":");
        format!(
            "lowerdir={lower},upperdir={upper},workdir={work},\
                index=off,metacopy=off,redirect_dir=off"
        )
    }
}
