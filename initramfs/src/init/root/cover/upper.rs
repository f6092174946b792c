//! The upper folders of the overlays: one per slot, and each belongs to one system.
//!
//! `mounts` mounts them.
//!
//! On disk, below `/var/lib/daruma/etc` (or `root`), each slot `A` and `B` has three entries.
//! `upper` has the changed files. `work` belongs to overlayfs. `identity` has the root hash of the
//! system that the upper belongs to. `A.new` or `B.new` is an upper that is being made, or an old
//! one. The next boot removes it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image_layout::Slot;

use crate::root::tree::{self, TreeCopy};

/// A slot's upper that is ready to be mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Upper {
    pub upper: PathBuf,
    pub work: PathBuf,
}

/// The upper that a new one is made from.
pub(crate) struct Source<'a> {
    pub upper: &'a Path,
    /// The root hash of the image under it, if it is the other slot's.
    pub identity: Option<&'a str>,
}

/// Makes `aside/upper` from an older upper.
pub(crate) type Make<'a> = &'a dyn Fn(&Source<'_>, &Path) -> Result<()>;

/// What a new system takes along of an upper that covers all of the root: the settings, and the
/// folders of a person. The rest was written over another image. Its programs and its list of
/// packages would hide those of the new image.
const CARRIED_OVER: [&str; 6] = ["etc", "home", "opt", "root", "srv", "usr/local"];

/// Makes a new upper of the root from an older one.
pub(crate) fn carry_over(source: &Source<'_>, aside: &Path, tick: &dyn Fn()) -> Result<()> {
    let upper = aside.join("upper");
    let folder = |from: &Path, to: &Path| -> Result<()> {
        fs::create_dir(to)?;
        tree::copy_metadata(from, &fs::symlink_metadata(from)?, to)
    };
    folder(source.upper, &upper)?;
    let mut copy = TreeCopy::new(tick);
    for path in CARRIED_OVER {
        let from = source.upper.join(path);
        if !tree::exists(&from)? {
            continue;
        }
        if let Some((above, _)) = path.split_once('/') {
            folder(&source.upper.join(above), &upper.join(above))?;
        }
        copy.copy(&from, &upper.join(path))?;
    }
    Ok(())
}

/// Returns the slot's upper. Makes it anew if the slot holds another system than the upper belongs
/// to.
///
/// `make` makes the new upper from the other slot's, because an update was installed from there. If
/// the other slot has none, it is made from the slot's own old upper, and without that it is empty.
///
/// `base` is the folder of both slots, and `lower` is what the upper will cover.
pub(crate) fn prepare(
    base: &Path,
    slot: Slot,
    root_hash: &str,
    lower: &Path,
    make: Make<'_>,
) -> Result<Upper> {
    DirBuilder::new().recursive(true).mode(0o700).create(base)?;
    let own = base.join(slot.name());
    let aside = base.join(format!("{slot}.new"));
    tree::remove(&aside)?;
    let ready = Upper { upper: own.join("upper"), work: own.join("work") };
    if identity(&own).as_deref() == Some(root_hash) && ready.upper.is_dir() {
        fs::create_dir_all(&ready.work)?;
        return Ok(ready);
    }

    DirBuilder::new()
        .mode(0o700)
        .create(&aside)
        .with_context(|| format!("creating {}", aside.display()))?;
    fs::create_dir(aside.join("work"))?;
    let other = base.join((!slot).name());
    let source = [&other, &own].into_iter().find(|dir| dir.join("upper").is_dir());
    match source {
        Some(source) => {
            let identity = identity(source).filter(|_| *source == other);
            let upper = source.join("upper");
            make(&Source { upper: &upper, identity: identity.as_deref() }, &aside)?;
        }
        None => {
            // An overlay's top folder looks like its upper.
            fs::create_dir(aside.join("upper"))?;
            tree::copy_metadata(lower, &fs::metadata(lower)?, &aside.join("upper"))?;
        }
    }
    fs::write(aside.join("identity"), format!("{root_hash}\n"))?;
    // All of the new upper is durable before it gets its name, and the name is durable before it is
    // used.
    tree::sync(base)?;
    tree::put_in_place(&aside, &own)?;
    tree::sync(base)?;
    tree::remove(&aside)?;
    Ok(ready)
}

/// Returns the upper to show read-only when /var cannot be written.
pub(crate) fn read_only(base: &Path, slot: Slot, root_hash: &str) -> Option<PathBuf> {
    let own = base.join(slot.name());
    let other = base.join((!slot).name()).join("upper");
    let matches = identity(&own).as_deref() == Some(root_hash);
    let own = own.join("upper");
    let order = if matches { [own, other] } else { [other, own] };
    order.into_iter().find(|dir| dir.is_dir())
}

fn identity(dir: &Path) -> Option<String> {
    fs::read_to_string(dir.join("identity")).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    struct Device {
        dir: tempfile::TempDir,
    }

    impl Device {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("etc")).unwrap();
            fs::set_permissions(dir.path().join("etc"), fs::Permissions::from_mode(0o751)).unwrap();
            Self { dir }
        }

        fn base(&self) -> PathBuf {
            self.dir.path().join("uppers")
        }

        fn boot(&self, slot: Slot, root_hash: &str) -> Upper {
            let make = |source: &Source<'_>, aside: &Path| carry_over(source, aside, &|| {});
            prepare(&self.base(), slot, root_hash, &self.dir.path().join("etc"), &make).unwrap()
        }
    }

    fn set(upper: &Upper, text: &str) {
        fs::create_dir_all(upper.upper.join("etc")).unwrap();
        fs::write(upper.upper.join("etc/hostname"), text).unwrap();
    }

    fn get(upper: &Upper) -> Option<String> {
        fs::read_to_string(upper.upper.join("etc/hostname")).ok()
    }

    #[test]
    fn the_first_upper_is_empty_and_looks_like_what_it_covers() {
        let device = Device::new();
        let upper = device.boot(Slot::A, "v1");
        assert_eq!(fs::read_dir(&upper.upper).unwrap().count(), 0);
        assert_eq!(fs::metadata(&upper.upper).unwrap().permissions().mode() & 0o7777, 0o751);
        assert!(upper.work.is_dir());
    }

    #[test]
    fn an_update_takes_the_settings_along_and_falling_back_restores_them() {
        let device = Device::new();
        set(&device.boot(Slot::A, "v1"), "mine");
        let on_trial = device.boot(Slot::B, "v2");
        assert_eq!(get(&on_trial).as_deref(), Some("mine"));
        set(&on_trial, "changed by v2");
        assert_eq!(get(&device.boot(Slot::A, "v1")).as_deref(), Some("mine"));
        assert_eq!(get(&device.boot(Slot::B, "v2")).as_deref(), Some("changed by v2"));
        // The next update overwrites B's system. B's upper is made anew from A's.
        assert_eq!(get(&device.boot(Slot::B, "v3")).as_deref(), Some("mine"));
    }

    #[test]
    fn an_update_leaves_behind_what_was_installed_over_the_old_image() {
        let device = Device::new();
        let old = device.boot(Slot::A, "v1");
        for path in ["etc/app", "home/ann", "usr/bin", "usr/local/bin", "usr/lib/sysimage/dpkg"] {
            fs::create_dir_all(old.upper.join(path)).unwrap();
            fs::write(old.upper.join(path).join("file"), path).unwrap();
        }
        fs::set_permissions(old.upper.join("usr"), fs::Permissions::from_mode(0o711)).unwrap();
        let new = device.boot(Slot::B, "v2").upper;
        for path in ["etc/app", "home/ann", "usr/local/bin"] {
            assert_eq!(fs::read_to_string(new.join(path).join("file")).unwrap(), path);
        }
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
            entries.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&new.join("usr")), ["local".into()].into());
        assert_eq!(names(&new), ["etc".into(), "home".into(), "usr".into()].into());
        let mode = fs::metadata(new.join("usr")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o711);
        // The old system has everything still.
        assert!(device.boot(Slot::A, "v1").upper.join("usr/bin/file").exists());
    }

    #[test]
    fn a_slot_written_anew_without_another_keeps_its_settings() {
        let device = Device::new();
        set(&device.boot(Slot::A, "v1"), "mine");
        assert_eq!(get(&device.boot(Slot::A, "v2")).as_deref(), Some("mine"));
        assert_eq!(identity(&device.base().join("A")).as_deref(), Some("v2"));
    }

    #[test]
    fn a_copy_that_was_cut_half_way_is_made_anew() {
        let device = Device::new();
        set(&device.boot(Slot::A, "v1"), "mine");
        fs::create_dir_all(device.base().join("B.new/upper")).unwrap();
        fs::write(device.base().join("B.new/upper/half"), "").unwrap();
        let upper = device.boot(Slot::B, "v2");
        assert_eq!(get(&upper).as_deref(), Some("mine"));
        assert!(!upper.upper.join("half").exists());
        assert!(!device.base().join("B.new").exists());
    }

    #[test]
    fn a_read_only_var_still_shows_the_settings() {
        let device = Device::new();
        assert_eq!(read_only(&device.base(), Slot::A, "v1"), None);
        let upper = device.boot(Slot::A, "v1");
        assert_eq!(read_only(&device.base(), Slot::A, "v1"), Some(upper.upper.clone()));
        assert_eq!(read_only(&device.base(), Slot::B, "v2"), Some(upper.upper));
    }
}
