//! Fills /var with the files that the image has below /var and the partition lacks.
//!
//! `tree` copies them.
//!
//! This happens once per system: `lib/daruma/var-filled` holds the root hash of that system. So a
//! file that a person deleted stays deleted until an update brings a new image. What the image has
//! computed from its own content replaces what an older one has.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::root::cover::updated;
use crate::root::tree::{self, TreeCopy};

/// What an image has computed from its own content, if it has the first of them.
const COMPUTED: [&str; 2] = [updated::STAMP, "lib/systemd/catalog/database"];

/// Copies to `var` what only `image` (the image's /var) has.
///
/// It copies missing entries aside and makes them durable. Only then does it give each its name by
/// one rename. So a power cut leaves whole entries, and the next boot does the rest.
pub(crate) fn fill(image: &Path, var: &Path, root_hash: &str, tick: &dyn Fn()) -> Result<()> {
    let stamp = var.join("lib/daruma/var-filled");
    if fs::read_to_string(&stamp).is_ok_and(|text| text.trim() == root_hash) {
        return Ok(());
    }
    let aside = var.join(".daruma-new");
    tree::remove(&aside)?;
    DirBuilder::new()
        .mode(0o700)
        .create(&aside)
        .with_context(|| format!("creating {}", aside.display()))?;
    let mut missing = Vec::new();
    find_missing(image, var, &mut missing)?;
    find_computed(image, var, &mut missing)?;
    let mut copy = TreeCopy::new(tick);
    let copies: Vec<PathBuf> =
        (0..missing.len()).map(|number| aside.join(number.to_string())).collect();
    for ((from, _), copied) in missing.iter().zip(&copies) {
        copy.copy(from, copied)?;
    }
    tree::sync(var)?;
    for ((_, to), copied) in missing.iter().zip(&copies) {
        fs::rename(copied, to)
            .with_context(|| format!("moving {} to {}", copied.display(), to.display()))?;
    }
    tree::remove(&aside)?;
    fs::create_dir_all(var.join("lib/daruma"))?;
    tree::sync(var)?;
    tree::write_durably(&stamp, format!("{root_hash}\n").as_bytes())
}

/// Finds entries of the image that have no entry of any kind in /var. Adds pairs: first the image's
/// entry, then its place in /var. Looks only in folders that both have.
fn find_missing(image: &Path, var: &Path, missing: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let context = || format!("reading {}", image.display());
    for entry in fs::read_dir(image).with_context(context)? {
        let entry = entry.with_context(context)?;
        let (from, to) = (entry.path(), var.join(entry.file_name()));
        if !tree::exists(&to)? {
            missing.push((from, to));
        } else if entry.file_type()?.is_dir() && fs::symlink_metadata(&to)?.is_dir() {
            find_missing(&from, &to, missing)?;
        }
    }
    Ok(())
}

/// Finds what the image has computed and /var has too. Adds pairs like [`find_missing`].
fn find_computed(image: &Path, var: &Path, missing: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    if !tree::exists(&image.join(COMPUTED[0]))? {
        return Ok(());
    }
    for path in COMPUTED {
        let (from, to) = (image.join(path), var.join(path));
        if tree::exists(&from)? && fs::symlink_metadata(&to).is_ok_and(|old| !old.is_dir()) {
            missing.push((from, to));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    fn image(dir: &Path) -> PathBuf {
        let image = dir.join("image");
        for folder in ["lib/dpkg", "log", "tmp"] {
            fs::create_dir_all(image.join(folder)).unwrap();
        }
        fs::write(image.join("lib/dpkg/status"), "packages").unwrap();
        fs::set_permissions(image.join("lib/dpkg/status"), fs::Permissions::from_mode(0o640))
            .unwrap();
        fs::hard_link(image.join("lib/dpkg/status"), image.join("lib/dpkg/status-old")).unwrap();
        fs::set_permissions(image.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("../run", image.join("run")).unwrap();
        image
    }

    fn fill_once(dir: &Path, root_hash: &str) {
        fs::create_dir_all(dir.join("var")).unwrap();
        fill(&dir.join("image"), &dir.join("var"), root_hash, &|| {}).unwrap();
    }

    #[test]
    fn an_empty_var_gets_all_with_modes_times_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let (image, var) = (image(dir.path()), dir.path().join("var"));
        fill_once(dir.path(), "v1");
        assert_eq!(fs::read_link(var.join("run")).unwrap(), Path::new("../run"));
        let (from, to) = (image.join("lib/dpkg/status"), var.join("lib/dpkg/status"));
        let (from, to) = (fs::metadata(from).unwrap(), fs::metadata(to).unwrap());
        assert_eq!(to.permissions().mode() & 0o7777, 0o640);
        assert_eq!((to.mtime(), to.mtime_nsec()), (from.mtime(), from.mtime_nsec()));
        assert_eq!(to.nlink(), 2);
        assert_eq!(fs::metadata(var.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
        assert!(!var.join(".daruma-new").exists());
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        image(dir.path());
        let var = dir.path().join("var");
        fs::create_dir_all(var.join("lib/dpkg")).unwrap();
        fs::write(var.join("lib/dpkg/status"), "mine").unwrap();
        symlink("nowhere", var.join("log")).unwrap();
        fill_once(dir.path(), "v1");
        assert_eq!(fs::read(var.join("lib/dpkg/status")).unwrap(), b"mine");
        assert_eq!(fs::read_link(var.join("log")).unwrap(), Path::new("nowhere"));
        assert!(var.join("lib/dpkg/status-old").exists());
    }

    #[test]
    fn a_deleted_file_comes_back_with_a_new_image_only() {
        let dir = tempfile::tempdir().unwrap();
        image(dir.path());
        let file = dir.path().join("var/lib/dpkg/status");
        fill_once(dir.path(), "v1");
        fs::remove_file(&file).unwrap();
        fill_once(dir.path(), "v1");
        assert!(!file.exists());
        fill_once(dir.path(), "v2");
        assert!(file.exists());
    }

    #[test]
    fn what_the_image_has_computed_replaces_what_an_older_one_has() {
        let dir = tempfile::tempdir().unwrap();
        let (image, var) = (image(dir.path()), dir.path().join("var"));
        let (stamp, database) = (".updated", "lib/systemd/catalog/database");
        for (root, text) in [(&image, "new"), (&var, "old")] {
            fs::create_dir_all(root.join("lib/systemd/catalog")).unwrap();
            fs::write(root.join(database), text).unwrap();
        }
        let read = |path: &str| fs::read_to_string(var.join(path)).unwrap();
        // The image says nothing of it: systemd compares the times.
        fs::write(var.join(stamp), "old").unwrap();
        fill_once(dir.path(), "v1");
        assert_eq!((read(stamp).as_str(), read(database).as_str()), ("old", "old"));
        fs::write(image.join(stamp), "new").unwrap();
        fill_once(dir.path(), "v2");
        assert_eq!((read(stamp).as_str(), read(database).as_str()), ("new", "new"));
        let time = |root: &Path| fs::metadata(root.join(stamp)).unwrap().modified().unwrap();
        assert_eq!(time(&var), time(&image));
        // What this system writes later stays.
        fs::write(var.join(database), "mine").unwrap();
        fill_once(dir.path(), "v2");
        assert_eq!(read(database), "mine");
    }

    #[test]
    fn a_cut_half_way_is_finished_by_the_next_boot() {
        let dir = tempfile::tempdir().unwrap();
        image(dir.path());
        let var = dir.path().join("var");
        // This is the state that a cut leaves: some copies aside, one of them in place, no stamp.
        fs::create_dir_all(var.join(".daruma-new/3")).unwrap();
        fs::create_dir_all(var.join("log")).unwrap();
        fill_once(dir.path(), "v1");
        assert_eq!(fs::read(var.join("lib/dpkg/status")).unwrap(), b"packages");
        assert!(!var.join(".daruma-new").exists());
    }
}
