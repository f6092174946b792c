//! Hands over from the initramfs to the real init.
//!
//! The earlier steps fill the new root. After the switch nothing of the initramfs is left in
//! memory.

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::root::mounts;

/// The mounts that move along with the root.
const MOVED: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Checks that there is a program at `init` inside `root`. Links are followed inside `root`, as
/// they will be later.
pub(crate) fn check(root: &Path, init: &Path) -> Result<()> {
    let context = || format!("looking for {} in the root image", init.display());
    let program = resolve(root, init).with_context(context)?;
    let metadata = fs::metadata(&program).with_context(context)?;
    ensure!(
        metadata.is_file() && metadata.mode() & 0o111 != 0,
        "{}: the path is not an executable file",
        context()
    );
    Ok(())
}

/// Follows symbolic links as if `root` were `/`.
fn resolve(root: &Path, path: &Path) -> Result<PathBuf> {
    let mut left: Vec<_> = path.iter().rev().map(|part| part.to_owned()).collect();
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop() {
        match part.to_str() {
            Some("/") => at = PathBuf::from("/"),
            Some(".") => {}
            Some("..") => drop(at.pop()),
            _ => {
                let inside = root.join(at.strip_prefix("/")?).join(&part);
                if fs::symlink_metadata(&inside)?.is_symlink() {
                    links += 1;
                    ensure!(links <= 40, "too many symbolic links");
                    left.extend(fs::read_link(&inside)?.iter().rev().map(|part| part.to_owned()));
                } else {
                    at.push(part);
                }
            }
        }
    }
    Ok(root.join(at.strip_prefix("/")?))
}

/// Makes `root` the root of everything, frees the initramfs and becomes `init`. That closes every
/// file that is open here, the watchdog among them.
pub(crate) fn switch(root: &Path, init: &Path) -> Result<Infallible> {
    for mount in MOVED {
        mounts::move_to(Path::new(mount), &root.join(&mount[1..]))?;
    }
    std::env::set_current_dir(root).context("entering the new root")?;
    free_initramfs();
    mounts::move_to(Path::new("."), Path::new("/"))?;
    std::os::unix::fs::chroot(".").context("changing to the new root")?;
    std::env::set_current_dir("/").context("entering the new root")?;
    let error = Command::new(init).args(std::env::args_os().skip(1)).exec();
    Err(error).with_context(|| format!("starting {}", init.display()))
}

/// Removes the files of the initramfs. They are in memory, and files that stay would stay there for
/// good.
fn free_initramfs() {
    fn remove_below(dir: &Path, device: u64) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match fs::symlink_metadata(&path) {
                // Another file system is mounted there: the new root.
                Ok(metadata) if metadata.dev() != device => {}
                Ok(metadata) if metadata.is_dir() => {
                    remove_below(&path, device);
                    let _ = fs::remove_dir(&path);
                }
                _ => drop(fs::remove_file(&path)),
            }
        }
    }
    // A file that stays costs only memory.
    if let Ok(metadata) = fs::metadata("/") {
        remove_below(Path::new("/"), metadata.dev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn init_is_looked_for_as_the_new_root_will_see_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("usr/lib/systemd")).unwrap();
        fs::create_dir_all(at("usr/sbin")).unwrap();
        fs::write(at("usr/lib/systemd/systemd"), "").unwrap();
        symlink("usr/sbin", at("sbin")).unwrap();
        symlink("/usr/lib/systemd/systemd", at("usr/sbin/init")).unwrap();
        let error = check(root.path(), Path::new("/sbin/init")).unwrap_err();
        assert!(error.to_string().contains("not an executable"), "{error}");
        fs::set_permissions(at("usr/lib/systemd/systemd"), fs::Permissions::from_mode(0o755))
            .unwrap();
        check(root.path(), Path::new("/sbin/init")).unwrap();
        check(root.path(), Path::new("/sbin/../../../sbin/init")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for missing in ["/bin/nothing", "/loop", "/usr"] {
            assert!(check(root.path(), Path::new(missing)).is_err(), "{missing}");
        }
    }
}
