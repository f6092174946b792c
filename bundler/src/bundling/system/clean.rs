//! What of a freshly installed Debian does not belong into an image, and what an image needs
//! instead.
//!
//! Reading the patterns of the recipe is left to `glob`.
//!
//! Three reasons to leave something out: it is for the build (caches, logs, the package index), it
//! belongs to one machine (keys, ids, the build host's name), or nobody reads it on a device
//! (documentation).

use anyhow::{Context, Result, bail};
use semver::Version;

use crate::bundling::tree::{Kind, Tree, glob};
use crate::recipe::BundleSettings;

/// Where dpkg's database lies in the image. /var is the device's own and outlives the image, but
/// the list of packages describes the image; /var/lib/dpkg becomes a link to here.
pub const PACKAGE_DATABASE: &str = "usr/lib/sysimage/dpkg";

/// Folders whose files are of the build, or made anew on every boot.
const EMPTIED: &[&str] =
    &["boot", "run", "tmp", "var/cache", "var/lib/apt/lists", "var/log", "var/tmp"];
/// Single files and folders: of the build, of one machine, or made by mmdebstrap for itself.
const REMOVED: &[&str] = &[
    "initrd.img",
    "initrd.img.old",
    "vmlinuz",
    "vmlinuz.old",
    "etc/.pwd.lock",
    // What a tar of an older bundler, or of another tool, still has of the build host.
    "etc/.resolv.conf.systemd-resolved.bak",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/sources.list",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "var/lib/systemd/random-seed",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
];
/// Patterns, always left out: host keys (made on the first boot), backups, dpkg's archive
/// addresses.
const REMOVED_PATTERNS: &[&str] = &[
    "/etc/ssh/ssh_host_*",
    "/etc/apt/sources.list.d/0000*",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/var/lib/dpkg/*-old",
];
/// Left out unless the recipe keeps documentation.
const DOCS: &[&str] =
    &["/usr/share/doc-base/", "/usr/share/lintian/", "/usr/share/linda/", "/usr/share/bug/"];
/// Left out unless the recipe keeps manual pages.
const MAN: &[&str] = &["/usr/share/man/", "/usr/share/info/", "/usr/share/groff/"];
/// Folders that something is mounted on before or by the real init.
const MOUNT_POINTS: &[(&str, u16)] = &[
    ("dev", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Makes the tree that goes into the image. The kernel must have been taken out of /boot before.
///
/// # Errors
/// A `drop` pattern of the recipe that matches nothing, a tar that cannot be read.
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
    if tree.get("var/lib/dpkg").is_some_and(|inode| matches!(inode.kind, Kind::Dir)) {
        tree.rename("var/lib/dpkg", PACKAGE_DATABASE)?;
        tree.put_symlink("var/lib/dpkg", &format!("../../{PACKAGE_DATABASE}"));
        forget_modules(tree)?;
    }
    // Empty, not absent: systemd makes an id and keeps it, but does not take the boot for a factory
    // reset, on which it would turn services on and off by presets.
    tree.put("etc/machine-id", 0o444, []);
    if tree.get("etc/hostname").is_none() {
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

/// dpkg's list and sums of a kernel's package name its modules as Debian packs them. An image has
/// them unpacked, or not at all: what is not there under that name is taken out, 0.9 MB of lines
/// that are others with every kernel.
fn forget_modules(tree: &mut Tree) -> Result<()> {
    let is_list = |path: &&str| path.ends_with(".list") || path.ends_with(".md5sums");
    let info = format!("{PACKAGE_DATABASE}/info");
    let kernel = format!("{info}/linux-image-");
    let of_kernel = |path: &&str| path.starts_with(&kernel) && is_list(path);
    let lists: Vec<String> = tree.below(&info).filter(of_kernel).map(str::to_owned).collect();
    for path in lists {
        let bytes = tree.read(&path)?;
        let has = |line: &str| {
            // "/PATH" in a list, "SUM  PATH" among the sums.
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

/// Removes everything below but the folders, which a service may expect with their owners and
/// modes.
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

/// Removes what matches and gives how much that was.
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
        // Licences travel with the programs.
        let is_dir =
            |tree: &Tree, path: &str| tree.get(path).is_some_and(|i| matches!(i.kind, Kind::Dir));
        let doomed: Vec<String> = tree
            .below("usr/share/doc")
            .filter(|path| !path.ends_with("/copyright") && !is_dir(tree, path))
            // A package that shares another's folder has a link in its place.
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

/// Removes folders without entries, deepest first.
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

/// Says in os-release which image this is (os-release(5): IMAGE_ID, IMAGE_VERSION, BUILD_ID).
///
/// # Errors
/// When the file is there but is not text.
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
    let ours = ["IMAGE_ID=", "IMAGE_VERSION=", "BUILD_ID="];
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !ours.iter().any(|key| line.starts_with(key)))
        .map(str::to_owned)
        .collect();
    lines.push(format!("IMAGE_ID={}", settings.compatible.to_lowercase()));
    lines.push(format!("IMAGE_VERSION={version}"));
    lines.push(format!("BUILD_ID={build}"));
    tree.put(OS_RELEASE, 0o644, (lines.join("\n") + "\n").into_bytes());
    Ok(())
}
