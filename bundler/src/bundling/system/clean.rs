//! Removes from a freshly installed Debian what does not belong into an image, and adds what an
//! image needs.
//!
//! `glob` reads the patterns of the recipe, and `secrets` removes keys.
//!
//! A file is removed for one of three reasons. It is only for the build (caches, logs, the package
//! index). It belongs to one machine (ids, the build host's name). Or nobody reads it on a device
//! (documentation).

use anyhow::{Context, Result, bail};
use semver::Version;

use crate::bundling::tree::{Kind, Tree, glob};
use crate::recipe::{Action, BundleSettings, Recipe};

/// The place of dpkg's database in the image. The device keeps its own /var when the image changes,
/// but the list of packages describes the image. So /var/lib/dpkg becomes a link to this folder.
pub const PACKAGE_DATABASE: &str = "usr/lib/sysimage/dpkg";

const FSTAB: &str = "etc/fstab";
/// The program of systemd.
const SYSTEMD: &str = "usr/lib/systemd/systemd";
/// Folders whose files belong to the build, or that every boot makes again.
const EMPTIED: &[&str] =
    &["boot", "run", "tmp", "var/cache", "var/lib/apt/lists", "var/log", "var/tmp"];
/// Files and folders that belong to the build or to one machine, or that mmdebstrap made for
/// itself.
const REMOVED: &[&str] = &[
    "initrd.img",
    "initrd.img.old",
    "vmlinuz",
    "vmlinuz.old",
    "etc/.pwd.lock",
    // A tar from an older bundler or from another tool still has these files of the build host.
    "etc/.resolv.conf.systemd-resolved.bak",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/sources.list",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
];
/// Patterns that are always left out: backups, dpkg's archive addresses.
const REMOVED_PATTERNS: &[&str] = &[
    "/etc/apt/sources.list.d/0000*",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/var/lib/dpkg/*-old",
];
/// Files that are left out unless the recipe keeps documentation.
const DOCS: &[&str] =
    &["/usr/share/doc-base/", "/usr/share/lintian/", "/usr/share/linda/", "/usr/share/bug/"];
/// Files that are left out unless the recipe keeps manual pages.
const MAN: &[&str] = &["/usr/share/man/", "/usr/share/info/", "/usr/share/groff/"];
/// What is of no use without a program: the program, and the units that run it.
const SERVES: &[(&str, &[&str])] = &[
    (
        "usr/bin/apt-get",
        &[
            "apt-daily-upgrade.service",
            "apt-daily-upgrade.timer",
            "apt-daily.service",
            "apt-daily.timer",
        ],
    ),
    ("usr/bin/dpkg", &["dpkg-db-backup.service", "dpkg-db-backup.timer"]),
];
/// Folders of units, in the image and in /etc.
const UNITS: &[&str] = &["etc/systemd/system", "usr/lib/systemd/system"];
/// Folders on which the initramfs or the real init mounts something.
const MOUNT_POINTS: &[(&str, u16)] = &[
    ("dev", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Turns the tree into that of an image. The caller must have taken the kernel out of /boot.
///
/// # Errors
/// A `drop` pattern of the recipe matches nothing, or the tar cannot be read.
pub fn clean(tree: &mut Tree, settings: &BundleSettings) -> Result<()> {
    for dir in EMPTIED {
        empty(tree, dir);
    }
    for path in REMOVED {
        tree.remove(path);
    }
    drop_matching(tree, REMOVED_PATTERNS);
    drop_documentation(tree, settings);
    for pattern in &settings.drop {
        let absolute = pattern.text.starts_with('/');
        if !absolute || drop_matching(tree, &[&pattern.text]) == 0 {
            let why = if absolute { "matches nothing" } else { "is not an absolute path" };
            bail!(pattern.place.error(format_args!("`drop: {}` {why}", pattern.text)));
        }
    }
    forget_timers(tree);
    if tree.get("var/lib/dpkg").is_some_and(|inode| matches!(inode.kind, Kind::Dir)) {
        tree.rename("var/lib/dpkg", PACKAGE_DATABASE)?;
        tree.put_symlink("var/lib/dpkg", &format!("../../{PACKAGE_DATABASE}"));
        forget_modules(tree)?;
    }
    // The file is empty, not absent. systemd then makes an id and keeps it. With no file, systemd
    // takes the boot for a factory reset, and turns services on and off by presets.
    tree.put("etc/machine-id", 0o444, []);
    // systemd has a file that decides less than this one: os-release. A credential can override it.
    if tree.get("etc/hostname").is_none() && tree.get(SYSTEMD).is_none() {
        tree.put("etc/hostname", 0o644, format!("{}\n", settings.compatible).into_bytes());
    }
    if tree.get("etc/resolv.conf").is_none()
        && tree.get("usr/lib/systemd/systemd-resolved").is_some()
    {
        tree.put_symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    }
    for (path, mode) in MOUNT_POINTS {
        tree.ensure_dir(path);
        if let Some(inode) = tree.get_mut(path) {
            inode.mode = *mode;
        }
    }
    Ok(())
}

/// Removes from /etc/fstab what belongs to the recipe's own disk: its mountpoints. A device has
/// another disk, and would wait for partitions that it does not have. Other lines stay.
///
/// # Errors
/// The file cannot be read.
pub fn forget_disk(tree: &mut Tree, recipe: &Recipe) -> Result<()> {
    let disks = recipe.steps.iter().filter_map(|step| match &step.action {
        Action::Disk(disk) => Some(disk),
        _ => None,
    });
    let mounts: Vec<String> = disks
        .flat_map(|disk| disk.mountpoints.iter().map(|mount| mount.path.replace(' ', "\\040")))
        .collect();
    let is_file = tree.get(FSTAB).is_some_and(|inode| matches!(inode.kind, Kind::File(_)));
    if mounts.is_empty() || !is_file {
        return Ok(());
    }
    let bytes = tree.read(FSTAB)?;
    let text = String::from_utf8_lossy(&bytes);
    let of_the_disk = |line: &str| {
        let at = line.split_whitespace().nth(1);
        !line.trim_start().starts_with('#')
            && at.is_some_and(|at| mounts.iter().any(|path| path == at))
    };
    let left: Vec<&str> = text.lines().filter(|line| !of_the_disk(line)).collect();
    if left.len() < text.lines().count() {
        eprintln!("/{FSTAB}: the mountpoints of the recipe's own disk are left out");
        let left = left.iter().map(|line| format!("{line}\n")).collect::<String>();
        tree.put(FSTAB, 0o644, left.into_bytes());
    }
    Ok(())
}

/// Removes the units that run apt or dpkg by the clock from a system that does not have the
/// program, and the links that start them.
fn forget_timers(tree: &mut Tree) {
    for (program, units) in SERVES {
        if tree.get(program).is_some() {
            continue;
        }
        for folder in UNITS {
            let is_unit = |path: &str| units.contains(&path.rsplit('/').next().unwrap_or(path));
            tree.remove_below(folder, is_unit);
        }
    }
}

/// Removes lines from dpkg's lists and sums of a kernel's package. These name the modules as Debian
/// packs them, but an image has the modules unpacked or not at all. A line is removed if the image
/// has no file of that name. The removed 0.9 MB of lines would differ with every kernel.
fn forget_modules(tree: &mut Tree) -> Result<()> {
    let is_list = |path: &&str| path.ends_with(".list") || path.ends_with(".md5sums");
    let info = format!("{PACKAGE_DATABASE}/info");
    let kernel = format!("{info}/linux-image-");
    let of_kernel = |path: &&str| path.starts_with(&kernel) && is_list(path);
    let lists: Vec<String> = tree.below(&info).filter(of_kernel).map(str::to_owned).collect();
    for path in lists {
        let bytes = tree.read(&path)?;
        let has = |line: &str| {
            // The line is "/PATH" in a list, and "SUM  PATH" in a file of sums.
            let file =
                line.rsplit_once("  ").map_or(line, |(_, file)| file).trim_matches(['/', '\n']);
            !(file.starts_with("usr/lib/modules/") || file.starts_with("lib/modules/"))
                || tree.get(file).is_some()
        };
        let kept: String = String::from_utf8_lossy(&bytes)
            .split_inclusive('\n')
            .filter(|line| has(line))
            .collect();
        tree.put(&path, 0o644, kept.into_bytes());
    }
    Ok(())
}

/// Removes all files below a folder and keeps the folders. A service may expect them with their
/// owners and modes.
fn empty(tree: &mut Tree, dir: &str) {
    let files: Vec<String> = tree
        .below(dir)
        .filter(|path| !tree.get(path).is_some_and(|inode| matches!(inode.kind, Kind::Dir)))
        .map(str::to_owned)
        .collect();
    for path in files {
        tree.remove(&path);
    }
}

/// Removes the paths that match and returns their number.
fn drop_matching(tree: &mut Tree, patterns: &[&str]) -> usize {
    let doomed: Vec<String> = tree
        .below("")
        .filter(|path| patterns.iter().any(|pattern| glob::matches(pattern, &format!("/{path}"))))
        .map(str::to_owned)
        .collect();
    for path in &doomed {
        tree.remove(path);
    }
    doomed.len()
}

fn drop_documentation(tree: &mut Tree, settings: &BundleSettings) {
    if !settings.docs {
        drop_matching(tree, DOCS);
        // Licences stay with the programs.
        let is_dir =
            |tree: &Tree, path: &str| tree.get(path).is_some_and(|i| matches!(i.kind, Kind::Dir));
        let doomed: Vec<String> = tree
            .below("usr/share/doc")
            .filter(|path| !path.ends_with("/copyright") && !is_dir(tree, path))
            // A package that shares the folder of another package has a link in its place.
            .filter(|path| path.matches('/').count() != 3)
            .map(str::to_owned)
            .collect();
        for path in doomed {
            tree.remove(&path);
        }
        prune_empty(tree, "usr/share/doc");
    }
    if !settings.man {
        drop_matching(tree, MAN);
    }
    let doomed: Vec<String> = tree
        .below("usr/share/locale")
        .filter(|path| {
            let folder = path.split('/').nth(3).unwrap_or_default();
            folder != "locale.alias" && !settings.locales.iter().any(|kept| kept == folder)
        })
        .map(str::to_owned)
        .collect();
    for path in doomed {
        tree.remove(&path);
    }
}

/// Removes folders without entries, the deepest first.
fn prune_empty(tree: &mut Tree, dir: &str) {
    let mut folders: Vec<String> = tree
        .below(dir)
        .filter(|path| tree.get(path).is_some_and(|inode| matches!(inode.kind, Kind::Dir)))
        .map(str::to_owned)
        .collect();
    folders.reverse();
    for folder in folders {
        if tree.below(&folder).next().is_none() {
            tree.remove(&folder);
        }
    }
}

/// Writes into os-release which image this is (os-release(5): IMAGE_ID, IMAGE_VERSION, BUILD_ID),
/// and the host name of a device that has none of its own (DEFAULT_HOSTNAME).
///
/// # Errors
/// The file exists but is not text.
pub fn name_image(
    tree: &mut Tree,
    settings: &BundleSettings,
    version: &Version,
    build: &str,
) -> Result<()> {
    const OS_RELEASE: &str = "usr/lib/os-release";
    if tree.get(OS_RELEASE).is_none() {
        return Ok(());
    }
    let text =
        String::from_utf8(tree.read(OS_RELEASE)?).context("usr/lib/os-release is not text")?;
    let ours = ["IMAGE_ID=", "IMAGE_VERSION=", "BUILD_ID=", "DEFAULT_HOSTNAME="];
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !ours.iter().any(|key| line.starts_with(key)))
        .map(str::to_owned)
        .collect();
    lines.push(format!("IMAGE_ID={}", settings.compatible.to_lowercase()));
    lines.push(format!("IMAGE_VERSION={version}"));
    lines.push(format!("BUILD_ID={build}"));
    if tree.get(SYSTEMD).is_some() {
        lines.push(format!("DEFAULT_HOSTNAME={}", settings.compatible));
    }
    tree.put(OS_RELEASE, 0o644, (lines.join("\n") + "\n").into_bytes());
    Ok(())
}
