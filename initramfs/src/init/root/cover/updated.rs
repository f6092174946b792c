//! Decides if a new system must do at its first boot what was done when its image was built.
//!
//! While /etc/.updated or /var/.updated is older than /usr, systemd makes users, the cache of
//! libraries and some databases anew (ConditionNeedsUpdate= in systemd.unit(5)). An image in which
//! that is done brings both files, and `fill` puts the second one into /var. They are hidden where
//! the device has files of its own which that work reads. systemd then does all of it once, and
//! writes both files. `merge` and `execute` hide them too when the old system's files stay.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use image_layout::{FOLDERS_ON_VAR, folder_name};
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::root::tree;

/// The name of the stamp, in /etc and in /var.
pub(crate) const STAMP: &str = ".updated";
/// What ldconfig, systemd-sysusers and systemd-hwdb read or write below /etc.
const READ: [&str; 6] =
    ["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "sysusers.d", "udev/hwdb.bin", "udev/hwdb.d"];
/// The device's own units, below /etc.
const UNITS: &str = "systemd/system";

/// Hides the stamps if the device has something of its own that the work reads, and systemd has not
/// done the work for it. `uppers` are the device's changes of /etc, the topmost first.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn settle(uppers: &[&Path], var: &Path) -> Result<()> {
    let is_done = |etc: &&Path| tree::exists(&etc.join(STAMP)).unwrap_or(false);
    let local = var.join(FOLDERS_ON_VAR).join(folder_name("/usr/local")).join("upper/lib");
    match uppers.first() {
        Some(top)
            if !uppers.iter().any(is_done) && uppers.iter().any(|etc| has_own(etc, &local)) =>
        {
            hide(top, var)
        }
        _ => Ok(()),
    }
}

/// True if the device has something of its own that the work reads. `etc` is its upper of /etc, and
/// `local` is what it has in /usr/local/lib.
fn has_own(etc: &Path, local: &Path) -> bool {
    // What cannot be read may be anything.
    let any = |path: &Path, fits: &dyn Fn(&Path) -> bool| any_file(path, fits).unwrap_or(true);
    let waits = |unit: &Path| {
        fs::symlink_metadata(unit).is_ok_and(|metadata| metadata.is_file())
            && fs::read(unit)
                .is_ok_and(|text| String::from_utf8_lossy(&text).contains("NeedsUpdate="))
    };
    READ.iter().any(|path| any(&etc.join(path), &|_| true))
        || any(local, &|_| true)
        || any(&etc.join(UNITS), &waits)
}

/// True if `path` is, or has below it, something that fits and is no folder. Whiteouts count too.
fn any_file(path: &Path, fits: &dyn Fn(&Path) -> bool) -> Result<bool> {
    if !tree::exists(path)? {
        return Ok(false);
    }
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(fits(path));
    }
    for entry in fs::read_dir(path)? {
        if any_file(&entry?.path(), fits)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Hides both stamps: that of the image under the upper `etc`, and that in `var`.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn hide(etc: &Path, var: &Path) -> Result<()> {
    let of_var = var.join(STAMP);
    if tree::exists(&of_var)? {
        fs::remove_file(&of_var).with_context(|| format!("removing {}", of_var.display()))?;
    }
    let of_etc = etc.join(STAMP);
    if tree::exists(&of_etc)? {
        fs::remove_file(&of_etc).with_context(|| format!("removing {}", of_etc.display()))?;
    }
    // This hides a file of the lower (`Documentation/filesystems/overlayfs.rst`).
    mknod(&of_etc, SFlag::S_IFCHR, Mode::empty(), 0)
        .with_context(|| format!("hiding {}", of_etc.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

    /// True if a device with one file more has something of its own. The place is `etc` or `local`
    /// and a path below it.
    fn with(place: &str, text: &str) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(place);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        has_own(&dir.path().join("etc"), &dir.path().join("local"))
    }

    #[test]
    fn what_the_work_reads_counts_and_other_files_do_not() {
        for place in [
            "etc/ld.so.conf",
            "etc/ld.so.conf.d/mine.conf",
            "etc/ld.so.cache",
            "etc/sysusers.d/mine.conf",
            "etc/udev/hwdb.d/90-mine.hwdb",
            "local/libmine.so.1",
            "local/sysusers.d/mine.conf",
            "etc/systemd/system/mine.service.d/update.conf",
        ] {
            assert!(with(place, "[Unit]\nConditionNeedsUpdate=/etc\n"), "{place}");
        }
        for place in ["etc/hostname", "etc/.updated", "etc/udev/rules.d/a.rules", "elsewhere/a"] {
            assert!(!with(place, "NeedsUpdate="), "{place}");
        }
        assert!(!with("etc/systemd/system/mine.service", "[Service]\nExecStart=true\n"));
    }

    #[test]
    fn empty_folders_are_nothing_and_a_whiteout_is_something() {
        let dir = tempfile::tempdir().unwrap();
        let (etc, local) = (dir.path().join("etc"), dir.path().join("local"));
        assert!(!has_own(&etc, &local));
        fs::create_dir_all(etc.join("ld.so.conf.d")).unwrap();
        fs::create_dir_all(local.join("python3/dist-packages")).unwrap();
        assert!(!has_own(&etc, &local));
        mknod(&etc.join("ld.so.conf.d/libc.conf"), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
        assert!(has_own(&etc, &local));
    }

    #[test]
    fn the_stamps_are_hidden_once_and_only_for_what_is_the_devices_own() {
        let dir = tempfile::tempdir().unwrap();
        let (etc, var) = (dir.path().join("etc"), dir.path().join("var"));
        let shown = dir.path().join("shown");
        for folder in [&etc, &var, &shown] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(var.join(STAMP), "").unwrap();
        let is_hidden = || {
            settle(&[&etc, &shown], &var).unwrap();
            !var.join(STAMP).exists()
        };
        assert!(!is_hidden());
        let lib = var.join("lib/daruma/folders/usr-local/upper/lib");
        fs::create_dir_all(&lib).unwrap();
        assert!(!is_hidden());
        fs::write(lib.join("libmine.so.1"), "").unwrap();
        assert!(is_hidden());
        assert!(tree::exists(&etc.join(STAMP)).unwrap());
        // systemd-update-done writes both.
        fs::remove_file(etc.join(STAMP)).unwrap();
        for folder in [&etc, &var] {
            fs::write(folder.join(STAMP), "").unwrap();
        }
        assert!(!is_hidden());
        // The upper on the disk shows under memory.
        fs::rename(etc.join(STAMP), shown.join(STAMP)).unwrap();
        assert!(!is_hidden());
        fs::remove_file(shown.join(STAMP)).unwrap();
        fs::remove_file(lib.join("libmine.so.1")).unwrap();
        assert!(!is_hidden());
        fs::write(shown.join("ld.so.conf"), "").unwrap();
        assert!(is_hidden());
    }

    #[test]
    fn both_stamps_are_hidden_whatever_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let (etc, var) = (dir.path().join("etc"), dir.path().join("var"));
        for folder in [&etc, &var] {
            fs::create_dir(folder).unwrap();
        }
        let check = || {
            hide(&etc, &var).unwrap();
            let stamp = fs::symlink_metadata(etc.join(STAMP)).unwrap();
            assert!(stamp.file_type().is_char_device() && stamp.rdev() == 0);
            assert!(!var.join(STAMP).exists());
        };
        check();
        check();
        fs::write(var.join(STAMP), "").unwrap();
        fs::remove_file(etc.join(STAMP)).unwrap();
        fs::write(etc.join(STAMP), "of the old system").unwrap();
        check();
    }
}
