//! The factory reset: empties /var before anything is mounted from it.
//!
//! `grub_env::FactoryReset` is the request in the environment. `plan` decides that it is done.
//!
//! The request is taken out of the environment last, when /var is mounted and has its size. After a
//! power cut the next boot finds the request and goes on.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use grub_env::{EnvStore, FactoryReset};
use image_layout::{FileDisk, make_empty_var};
use nix::libc;

use crate::disk::environment;
use crate::kernel::{console, sys};
use crate::plan::VAR;
use crate::root::{mounts, tree, var};

/// Folders that may lie in one another before their depth is too large for this code's own steps.
const DEPTH: usize = 64;

/// Does the reset on the partition `device`. [`end`] takes the request back.
///
/// Without a path to keep, /var gets a new filesystem, whatever the old one is like. Otherwise the
/// old one must be whole: nothing that was to be kept is ever erased.
pub(crate) fn reset(device: &Path, reset: &FactoryReset, tick: &dyn Fn()) -> Result<()> {
    match reset.keep() {
        [] => {
            make_new(device, tick)?;
            console::loud("factory reset: /var is a new file system");
        }
        keep => {
            empty_partition(device, reset, tick)?;
            console::loud(&format!("factory reset: of /var only {} is left", keep.join(", ")));
        }
    }
    Ok(())
}

fn make_new(device: &Path, tick: &dyn Fn()) -> Result<()> {
    let context = || format!("making a new file system on {}", device.display());
    let disk = FileDisk::open(device).with_context(context)?;
    make_empty_var(&disk, &mut var::random, &mut || tick()).with_context(context)
}

fn empty_partition(device: &Path, reset: &FactoryReset, tick: &dyn Fn()) -> Result<()> {
    let at = Path::new(VAR);
    var::mount_writable(device, at).with_context(|| {
        format!(
            "{} was to be kept; 'daruma factory-reset' without --keep makes a new /var",
            reset.keep().join(", ")
        )
    })?;
    let mut step = || {
        tick();
        Ok(())
    };
    let emptied = empty(at, &reset.places(), &mut step).and_then(|()| tree::sync(at));
    mounts::unmount(at)?;
    emptied
}

/// Removes everything below `var` but the paths of `keep`, which are relative to `var`. `step`
/// comes before each removal, and can stop the work.
fn empty(var: &Path, keep: &[String], step: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    // It goes first. It says that /var has the image's files, and soon /var has them no more. Even
    // an older daruma-init that knows no resets then fills /var again.
    remove_if_there(&var.join("lib/daruma/var-filled"), step)?;
    let keep: Vec<&Path> = keep.iter().map(Path::new).collect();
    empty_folder(var, &keep, step)
}

/// `keep` is relative to `dir`.
fn empty_folder(dir: &Path, keep: &[&Path], step: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let context = || format!("reading {}", dir.display());
    for entry in fs::read_dir(dir).with_context(context)? {
        let entry = entry.with_context(context)?;
        let (name, path) = (entry.file_name(), entry.path());
        let below: Vec<&Path> =
            keep.iter().filter_map(|kept| kept.strip_prefix(&name).ok()).collect();
        if below.contains(&Path::new("")) {
            continue;
        }
        if !below.is_empty() && entry.file_type().with_context(context)?.is_dir() {
            empty_folder(&path, &below, step)?;
        } else {
            remove(&path, DEPTH, step)?;
        }
    }
    Ok(())
}

/// Removes a tree, step by step.
fn remove(path: &Path, depth: usize, step: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let context = || format!("removing {}", path.display());
    if !fs::symlink_metadata(path).with_context(context)?.is_dir() {
        step()?;
        return insist(path, || fs::remove_file(path)).with_context(context);
    }
    if depth == 0 {
        // Paths may become too long for the kernel here. The standard library needs no paths.
        step()?;
        return fs::remove_dir_all(path).with_context(context);
    }
    for entry in fs::read_dir(path).with_context(context)? {
        remove(&entry.with_context(context)?.path(), depth - 1, step)?;
    }
    step()?;
    insist(path, || fs::remove_dir(path)).with_context(context)
}

/// Removes what somebody has made immutable, too, or what lies in such a folder.
fn insist(path: &Path, removal: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let refused = match removal() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        other => return other,
    };
    for path in [Some(path), path.parent()].into_iter().flatten() {
        // A pipe without a writer, or a device, must not keep the boot waiting.
        let opened =
            File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
        let _ = opened.and_then(|file| sys::make_mutable(&file));
    }
    removal().map_err(|_| refused)
}

fn remove_if_there(path: &Path, step: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    step()?;
    match fs::remove_file(path) {
        Err(error)
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Takes the request out of the environment, once all of the mounted /var is durable.
pub(crate) fn end(var: &Path, esp: &Path) -> Result<()> {
    tree::sync(var)?;
    let store =
        EnvStore::open(environment::open_esp(esp)?).context("reading the EFI system partition")?;
    let loaded = store.load().context("reading the environment")?;
    let mut env = loaded.env;
    FactoryReset::end(&mut env);
    if loaded.damage.is_empty() { store.store(&env) } else { store.heal(&env) }
        .context("writing the environment")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use anyhow::bail;

    fn var(dir: &Path) {
        for folder in ["lib/daruma/etc/A/upper", "lib/app/deep/er", "lib/other", "log", "spool/x"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for file in [
            "lib/daruma/var-filled",
            "lib/daruma/etc/A/upper/hostname",
            "lib/app/data",
            "lib/app/deep/er/file",
            "lib/other/x",
            "lib/apple",
            "spool/x/job",
        ] {
            fs::write(dir.join(file), file).unwrap();
        }
        fs::set_permissions(dir.join("lib/app/data"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("lib/app", dir.join("app")).unwrap();
        symlink("/nowhere", dir.join("run")).unwrap();
    }

    fn names(dir: &Path) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                names.insert(entry.path().strip_prefix(dir).unwrap().display().to_string());
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        names
    }

    fn kept() -> Vec<String> {
        ["lib/app", "spool/x/job", "gone/with/it"].map(str::to_owned).to_vec()
    }

    const LEFT: [&str; 9] = [
        "lib",
        "lib/app",
        "lib/app/data",
        "lib/app/deep",
        "lib/app/deep/er",
        "lib/app/deep/er/file",
        "spool",
        "spool/x",
        "spool/x/job",
    ];

    #[test]
    fn a_stop_after_any_step_loses_nothing_that_is_kept_and_the_next_run_finishes() {
        let left: BTreeSet<String> = LEFT.iter().map(|name| (*name).to_owned()).collect();
        let mut stops = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            var(dir.path());
            let mut steps = 0;
            let stopped = empty(dir.path(), &kept(), &mut || {
                steps += 1;
                if steps > stops { bail!("the power is cut") } else { Ok(()) }
            });
            assert!(left.is_subset(&names(dir.path())), "after {stops} steps");
            // A boot that knows no resets must not take an emptied /var for a filled one.
            let is_filled = dir.path().join("lib/daruma/var-filled").exists();
            assert_eq!(is_filled, stops == 0, "after {stops} steps");
            if stopped.is_ok() {
                assert_eq!(names(dir.path()), left);
                break;
            }
            empty(dir.path(), &kept(), &mut || Ok(())).unwrap();
            assert_eq!(names(dir.path()), left, "after {stops} steps");
            let data = dir.path().join("lib/app/data");
            assert_eq!(fs::read(&data).unwrap(), b"lib/app/data");
            assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o7777, 0o640);
            stops += 1;
        }
        assert!(stops > 10, "{stops}");
    }

    #[test]
    fn a_home_stays_and_the_rest_of_its_overlay_goes() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("lib/daruma/folders/home");
        for folder in ["upper/ann/deep", "upper/bob", "work/work", "../srv/upper/data"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        let reset = FactoryReset::new(&["/home/ann"]).unwrap();
        empty(dir.path(), &reset.places(), &mut || Ok(())).unwrap();
        let names = names(dir.path());
        assert!(names.contains("lib/daruma/folders/home/upper/ann/deep"), "{names:?}");
        // The folders on the way to it are lib, daruma, folders, home and upper.
        assert_eq!(names.len(), 7, "{names:?}");
    }

    #[test]
    fn a_link_is_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, inside) = (dir.path().join("outside"), dir.path().join("var"));
        fs::create_dir_all(outside.join("app")).unwrap();
        fs::create_dir(&inside).unwrap();
        symlink(&outside, inside.join("lib")).unwrap();
        empty(&inside, &["lib/app".to_owned()], &mut || Ok(())).unwrap();
        assert_eq!(names(&inside).len(), 0);
        assert!(outside.join("app").exists());
    }

    #[test]
    fn what_is_immutable_goes_too() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut chattr = std::process::Command::new("chattr");
        chattr.arg("+i").arg(folder.join("file")).arg(&folder).env("PATH", path);
        // An ordinary user may not do this, and some file systems cannot.
        if !chattr.output().is_ok_and(|output| output.status.success()) {
            return;
        }
        fs::remove_file(folder.join("file")).unwrap_err();
        empty(dir.path(), &["b".to_owned()], &mut || Ok(())).unwrap();
        assert_eq!(names(dir.path()).len(), 0);
    }

    #[test]
    fn folders_of_any_depth_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().join("a");
        for _ in 0..DEPTH + 10 {
            deep.push("a");
        }
        fs::create_dir_all(deep).unwrap();
        empty(dir.path(), &["b".to_owned()], &mut || Ok(())).unwrap();
        assert_eq!(names(dir.path()).len(), 0);
    }
}
