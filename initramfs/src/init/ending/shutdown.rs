//! The end of a system that shuts down: unmounts what daruma-init has mounted, and closes the root.
//!
//! systemd runs from the root, so systemd cannot unmount it. systemd-shutdown therefore changes to
//! /run/initramfs, has the old root at /oldroot, and becomes `/run/initramfs/shutdown` (systemd's
//! docs/INITRD_INTERFACE.md). That program is a copy of daruma-init, and this file is its way. The
//! last act is always the system call that the first argument names: nothing here may keep a
//! machine from restarting.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::reboot::{RebootMode, reboot};

use crate::disk::verity;
use crate::kernel::console;

/// Where daruma-init leaves a copy of itself, seen from the real init.
pub(crate) const PROGRAM: &str = "/run/initramfs/shutdown";
const OLD_ROOT: &str = "/oldroot";
/// What the kernel makes up, below the old root. systemd has bound these to the new root, and open
/// files keep them busy.
const OF_THE_KERNEL: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// True if this process was started to end a system.
pub(crate) fn is_asked_for(name: Option<&OsStr>) -> bool {
    name == Some(OsStr::new("/shutdown"))
}

/// Leaves the program that ends this system.
///
/// # Errors
/// /run has no space left.
pub(crate) fn leave_program() -> Result<()> {
    let context = || format!("copying daruma-init to {PROGRAM}");
    fs::create_dir_all(Path::new(PROGRAM).parent().unwrap_or(Path::new("/")))
        .with_context(context)?;
    // The copy keeps the mode, and the archive's /init may be executed.
    fs::copy("/init", PROGRAM).map(drop).with_context(context)
}

/// Closes the old root, and does what `verb` asks for: `reboot`, `poweroff`, `halt` or `kexec`.
pub(crate) fn run(verb: Option<&OsStr>) -> ! {
    console::open();
    if let Err(error) = close_root() {
        console::loud(&format!("{error:#}; going on"));
    }
    nix::unistd::sync();
    let mode = match verb.and_then(OsStr::to_str) {
        Some("poweroff") => RebootMode::RB_POWER_OFF,
        Some("halt") => RebootMode::RB_HALT_SYSTEM,
        Some("kexec") => RebootMode::RB_KEXEC,
        _ => RebootMode::RB_AUTOBOOT,
    };
    let _ = reboot(mode);
    // The kernel refuses kexec without a loaded kernel. An ordinary restart is what is left.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    // The kernel panics when its first process ends, and panic=5 restarts it.
    std::process::exit(1)
}

/// Unmounts everything below the old root, the old root itself, and removes the dm-verity device.
fn close_root() -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading the mounts")?;
    for mount in to_unmount(&table) {
        umount2(&mount, MntFlags::empty())
            .with_context(|| format!("unmounting {}", mount.display()))?;
    }
    umount2(OLD_ROOT, MntFlags::MNT_DETACH).context("leaving the old root")?;
    verity::remove(verity::ROOT)
}

/// Returns the mounts below the old root that hold data, the last mounted first.
fn to_unmount(mountinfo: &str) -> Vec<PathBuf> {
    let old = Path::new(OLD_ROOT);
    let place = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
    let holds_data = |path: &PathBuf| {
        let Ok(inside) = path.strip_prefix(old) else { return false };
        let inside = Path::new("/").join(inside);
        path != old && !OF_THE_KERNEL.iter().any(|kernels| inside.starts_with(kernels))
    };
    let mut mounts: Vec<PathBuf> = mountinfo.lines().filter_map(place).filter(holds_data).collect();
    mounts.reverse();
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_that_hold_data_end_in_the_reverse_order() {
        let table = "\
25 0 0:22 /initramfs / rw - tmpfs tmpfs rw
30 25 254:0 / /oldroot ro - squashfs /dev/dm-0 ro
31 30 8:8 / /oldroot/var rw - ext4 /dev/vda8 rw
32 30 0:30 / /oldroot/etc rw - overlay overlay rw
33 30 0:5 / /oldroot/dev rw - devtmpfs devtmpfs rw
34 33 0:6 / /oldroot/dev/pts rw - devpts devpts rw
35 30 0:22 / /oldroot/run rw - tmpfs tmpfs rw
36 25 0:5 / /dev rw - devtmpfs devtmpfs rw
";
        let expected: Vec<PathBuf> = vec!["/oldroot/etc".into(), "/oldroot/var".into()];
        assert_eq!(to_unmount(table), expected);
    }

    #[test]
    fn only_the_name_that_systemd_gives_ends_a_system() {
        assert!(is_asked_for(Some(OsStr::new("/shutdown"))));
        assert!(!is_asked_for(Some(OsStr::new("/init"))) && !is_asked_for(None));
    }
}
