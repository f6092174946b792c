//! The folders of a person: /root, /home, /srv, /opt and /usr/local, each under an overlay.
//!
//! `image_layout::FOLDERS` names them, and says where on /var their uppers lie. Both slots have the
//! same upper: what a person puts there is data and not a setting of one system.
//!
//! On disk, below `/var/lib/daruma/folders`, `NAME` has `upper` and `work`. `NAME.new` is one that
//! is being made. The next boot removes it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use image_layout::{FOLDERS, folder_name};
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::root::mounts::Overlay;
use crate::root::tree;

/// Tells systemd that a mount is daruma-init's, from the first process to the last.
const INITRAMFS_MOUNT: &str = include_str!("../../../../../agent/dist/initramfs-mount.conf");
/// Where systemd reads units that last for one boot.
const UNITS: &str = "/run/systemd/system";

/// A folder, with what is to be mounted on it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Folder {
    path: &'static str,
    name: String,
    target: PathBuf,
    overlay: Overlay,
}

/// Covers the folders of `root`. `base` has the uppers. `shown` has those of a partition that
/// cannot be written, and they are shown under the new ones.
///
/// # Errors
/// A folder stays as in the image and read-only. The message names each. It is no reason not to
/// boot.
pub(crate) fn cover(root: &Path, base: &Path, shown: Option<&Path>) -> Result<()> {
    let folders = find(root, base, shown);
    let mut cause = make_missing(base, &folders).err();
    let mut left = Vec::new();
    for folder in &folders {
        if let Err(error) = folder.mount() {
            left.push(folder.path);
            cause.get_or_insert(error);
        }
    }
    match cause {
        Some(error) if !left.is_empty() => {
            Err(error.context(format!("making {} writable", left.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Returns the folders to cover.
fn find(root: &Path, base: &Path, shown: Option<&Path>) -> Vec<Folder> {
    let folder = |path: &&'static str| {
        let (name, target) = (folder_name(path), root.join(path.trim_start_matches('/')));
        // An image without the folder, or with a link in its place, has its own arrangement.
        if !fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir())
            || has_own_mount(root, path)
        {
            return None;
        }
        let shown = shown.map(|base| base.join(&name).join("upper")).filter(|dir| dir.is_dir());
        let lower = shown.into_iter().chain([target.clone()]).collect();
        let own = base.join(&name);
        let overlay = Overlay { lower, upper: own.join("upper"), work: own.join("work") };
        Some(Folder { path, name, target, overlay })
    };
    FOLDERS.iter().filter_map(folder).collect()
}

/// True if the system mounts something there itself. systemd takes a place that is mounted already
/// for done, so an overlay would hide what a device in the field has there.
fn has_own_mount(root: &Path, folder: &str) -> bool {
    let unit = format!("{}.mount", folder_name(folder));
    let has_unit = |dir: &str| fs::symlink_metadata(root.join(dir).join(&unit)).is_ok();
    let in_fstab = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let is_entry = fields.next().is_some_and(|source| !source.starts_with('#'));
        is_entry && fields.next().is_some_and(|place| place.trim_end_matches('/') == folder)
    };
    has_unit("etc/systemd/system")
        || has_unit("usr/lib/systemd/system")
        || fs::read_to_string(root.join("etc/fstab")).is_ok_and(|text| text.lines().any(in_fstab))
}

/// Makes the uppers that are not there yet. A power cut leaves none, or a whole one.
fn make_missing(base: &Path, folders: &[Folder]) -> Result<()> {
    let missing: Vec<&Folder> =
        folders.iter().filter(|folder| !folder.overlay.upper.is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let dir = |path: &Path| {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("creating {}", path.display()))
    };
    dir(base)?;
    let aside = |folder: &Folder| base.join(format!("{}.new", folder.name));
    for folder in &missing {
        tree::remove(&aside(folder))?;
        let upper = aside(folder).join("upper");
        dir(&upper)?;
        // An overlay's top folder looks like its upper.
        let lower = &folder.overlay.lower[0];
        tree::copy_metadata(lower, &fs::metadata(lower)?, &upper)?;
    }
    // The owner and the mode are durable before the upper gets its name.
    tree::sync(base)?;
    for folder in &missing {
        tree::put_in_place(&aside(folder), &base.join(&folder.name))?;
        tree::remove(&aside(folder))?;
    }
    tree::sync(base)
}

impl Folder {
    fn mount(&self) -> Result<()> {
        let (work, target) = (&self.overlay.work, &self.target);
        fs::create_dir_all(work).with_context(|| format!("creating {}", work.display()))?;
        self.overlay.mount(target)?;
        // Without a unit systemd would end this mount itself, while a shell may still be in it.
        let unit = Path::new(UNITS).join(format!("{}.mount.d", self.name));
        let _ = fs::create_dir_all(&unit)
            .and_then(|()| fs::write(unit.join("daruma.conf"), INITRAMFS_MOUNT));
        // On a full disk overlayfs cannot make what it works with, and mounts read-only.
        let flags = statvfs(target).context("looking at the mount")?.flags();
        ensure!(!flags.contains(FsFlags::ST_RDONLY), "{} is mounted read-only", target.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::process::Command;

    use sys_mount::MountFlags;

    use crate::root::mounts;

    /// An image with /root (0700), /home, /opt and /usr/local, and with a link at /srv.
    fn image(dir: &Path) -> PathBuf {
        let root = dir.join("root");
        for folder in ["root", "home", "opt", "usr/local", "etc/systemd/system"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("var/srv", root.join("srv")).unwrap();
        root
    }

    /// If this variable is set, this process may mount, and the value is an empty folder.
    const MAY_MOUNT: &str = "DARUMA_TEST_MAY_MOUNT";

    #[test]
    fn what_is_written_lies_on_var_for_both_systems_and_a_read_only_var_shows_it() {
        let Some(dir) = std::env::var_os(MAY_MOUNT).map(PathBuf::from) else {
            let dir = tempfile::tempdir().unwrap();
            let name = "root::cover::folders::tests::\
                        what_is_written_lies_on_var_for_both_systems_and_a_read_only_var_shows_it";
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "--mount"]);
            unshare.arg(std::env::current_exe().unwrap()).args(["--exact", name]);
            let run = unshare.env(MAY_MOUNT, dir.path()).output().unwrap();
            let said = String::from_utf8_lossy(&run.stdout);
            assert!(run.status.success() && said.contains("1 passed"), "{said}");
            return;
        };
        // The folder itself may lie on an overlay, which cannot hold an upper.
        mounts::tmpfs(&dir).unwrap();
        let base = dir.join("var/lib/daruma/folders");
        let system = |version: &str, base: &Path, shown: Option<&Path>| {
            let root = image(&dir.join(version));
            fs::write(root.join("home/of-the-image"), version).unwrap();
            let folders = find(&root, base, shown);
            make_missing(base, &folders).unwrap();
            for Folder { target, overlay, .. } in folders {
                fs::create_dir_all(&overlay.work).unwrap();
                // An ordinary user may not name this option, and it is the kernel's default.
                let options = overlay.options().replace(",redirect_dir=off", "");
                let none = MountFlags::empty();
                mounts::mount("overlay", "overlay", target, none, &options).unwrap();
            }
            root
        };
        let first = system("1", &base, None);
        fs::write(first.join("home/mine"), "").unwrap();
        assert!(base.join("home/upper/mine").exists());
        assert_eq!(mode(&first.join("root")), 0o700);
        for folder in ["root", "home", "opt", "usr/local"] {
            mounts::unmount(&first.join(folder)).unwrap();
        }
        let second = system("2", &base, None);
        assert_eq!(fs::read_to_string(second.join("home/of-the-image")).unwrap(), "2");
        assert!(second.join("home/mine").exists());
        let memory = dir.join("memory");
        let third = system("3", &memory, Some(&base));
        assert!(third.join("home/mine").exists());
        fs::write(third.join("home/lost"), "").unwrap();
        assert!(memory.join("home/upper/lost").exists() && !second.join("home/lost").exists());
    }

    fn names(folders: &[Folder]) -> Vec<&str> {
        folders.iter().map(|folder| folder.name.as_str()).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_link_or_a_folder_that_is_not_there_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let root = image(dir.path());
        fs::remove_dir(root.join("opt")).unwrap();
        fs::write(root.join("opt"), "a file").unwrap();
        let found = find(&root, Path::new("/base"), None);
        assert_eq!(names(&found), ["root", "home", "usr-local"]);
        let local = Overlay {
            lower: vec![root.join("usr/local")],
            upper: "/base/usr-local/upper".into(),
            work: "/base/usr-local/work".into(),
        };
        assert_eq!((&found[2].target, &found[2].overlay), (&root.join("usr/local"), &local));
    }

    #[test]
    fn a_folder_that_the_system_mounts_itself_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = image(dir.path());
        let found = || find(&root, Path::new("/base"), None);
        let fstab = "# /x /opt\n/var/home /home/ none bind 0 0\n/dev/vdb /root/disk ext4\n";
        fs::write(root.join("etc/fstab"), fstab).unwrap();
        assert_eq!(names(&found()), ["root", "opt", "usr-local"]);
        fs::write(root.join("etc/systemd/system/usr-local.mount"), "[Mount]").unwrap();
        assert_eq!(names(&found()), ["root", "opt"]);
        // A masked unit says that nothing is to be mounted there.
        fs::create_dir_all(root.join("usr/lib/systemd/system")).unwrap();
        symlink("/dev/null", root.join("usr/lib/systemd/system/opt.mount")).unwrap();
        assert_eq!(names(&found()), ["root"]);
    }

    #[test]
    fn a_new_upper_looks_like_its_folder_and_stays_as_it_is_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let (root, base) = (image(dir.path()), dir.path().join("var/lib/daruma/folders"));
        let folders = find(&root, &base, None);
        make_missing(&base, &folders).unwrap();
        // A cut has left half of one.
        fs::rename(base.join("root"), base.join("root.new")).unwrap();
        fs::write(base.join("root.new/upper/half"), "").unwrap();
        make_missing(&base, &folders).unwrap();
        assert_eq!((mode(&base), mode(&base.join("root"))), (0o700, 0o700));
        assert_eq!(mode(&base.join("root/upper")), 0o700);
        assert_eq!(mode(&base.join("home/upper")), 0o755);
        assert!(!base.join("root/upper/half").exists() && !base.join("root.new").exists());
        // A person changes the folder and puts a file into it. The next boot leaves both alone.
        fs::set_permissions(base.join("home/upper"), fs::Permissions::from_mode(0o711)).unwrap();
        fs::write(base.join("home/upper/mine"), "").unwrap();
        make_missing(&base, &folders).unwrap();
        assert_eq!(mode(&base.join("home/upper")), 0o711);
        assert!(base.join("home/upper/mine").exists());
    }

    #[test]
    fn a_folder_that_a_reset_has_left_without_work_or_without_upper_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (root, base) = (image(dir.path()), dir.path().join("folders"));
        fs::create_dir_all(base.join("home/upper/ann")).unwrap();
        fs::create_dir_all(base.join("opt").join("work").join("work")).unwrap();
        make_missing(&base, &find(&root, &base, None)).unwrap();
        assert!(base.join("home/upper/ann").exists());
        assert!(base.join("opt/upper").is_dir() && !base.join("opt/work").exists());
    }

    #[test]
    fn a_var_that_cannot_be_written_is_shown_under_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (root, disk) = (image(dir.path()), dir.path().join("disk"));
        fs::create_dir_all(disk.join("home/upper")).unwrap();
        fs::set_permissions(disk.join("home/upper"), fs::Permissions::from_mode(0o711)).unwrap();
        let memory = dir.path().join("memory");
        let folders = find(&root, &memory, Some(&disk));
        assert_eq!(folders[0].overlay.lower, [root.join("root")]);
        assert_eq!(folders[1].overlay.lower, [disk.join("home/upper"), root.join("home")]);
        make_missing(&memory, &folders).unwrap();
        assert_eq!(mode(&memory.join("home/upper")), 0o711);
    }
}
