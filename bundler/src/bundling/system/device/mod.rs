//! Adds to the root filesystem what belongs to Daruma: the agent, its settings, its units, the
//! trusted keys.
//!
//! `make build` builds the agent. The units and settings lie in `agent/dist`.
//! Read `programs`, which finds the programs, and `trusted`, which has the keys.

mod programs;
pub mod trusted;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::bundling::system::device::trusted::Trusted;
use crate::bundling::tree::{Kind, Tree};
use crate::host::cache::hex;

pub use programs::DevicePrograms;

/// The root document that the device starts with.
const ROOT: &str = "etc/daruma/root.json";
/// Files of the agent: path, content. A file that the recipe's overlay has put there stays.
const FILES: &[(&str, &str)] =
    &[("etc/daruma/daruma.toml", include_str!("../../../../../agent/dist/daruma.toml"))];
/// The units that must work where a device has no baseline yet, one a line.
const HEALTH_UNITS: &str = "usr/lib/daruma/health-units";
/// For a mount that is daruma-init's, from the first process to the last.
const INITRAMFS_MOUNT: &str = include_str!("../../../../../agent/dist/initramfs-mount.conf");
/// More files, for systems with systemd.
const SYSTEMD_FILES: &[(&str, &str)] = &[
    (
        "usr/lib/systemd/system/daruma.service",
        include_str!("../../../../../agent/dist/daruma.service"),
    ),
    (
        "usr/lib/systemd/system/daruma-trial-deadline.service",
        include_str!("../../../../../agent/dist/daruma-trial-deadline.service"),
    ),
    (
        "usr/lib/systemd/system/daruma-trial-deadline.timer",
        include_str!("../../../../../agent/dist/daruma-trial-deadline.timer"),
    ),
    (
        "usr/lib/systemd/system-preset/90-daruma.preset",
        include_str!("../../../../../agent/dist/90-daruma.preset"),
    ),
    (
        "usr/lib/systemd/system.conf.d/daruma.conf",
        include_str!("../../../../../agent/dist/system.conf.d/daruma.conf"),
    ),
    ("usr/lib/systemd/system/var.mount.d/daruma.conf", INITRAMFS_MOUNT),
    ("usr/lib/systemd/system/etc.mount.d/daruma.conf", INITRAMFS_MOUNT),
];
/// Links that enable the units. They lie in the image and not in /etc, whose content belongs to the
/// device.
const SYSTEMD_LINKS: &[(&str, &str)] = &[
    ("usr/lib/systemd/system/multi-user.target.wants/daruma.service", "../daruma.service"),
    (
        "usr/lib/systemd/system/sysinit.target.wants/daruma-trial-deadline.timer",
        "../daruma-trial-deadline.timer",
    ),
];

/// Adds the agent, its files and the keys that the device will trust.
///
/// # Errors
/// A key cannot be written as PEM.
pub fn add(tree: &mut Tree, agent: Vec<u8>, trusted: &Trusted) -> Result<()> {
    tree.put("usr/bin/daruma", 0o755, agent);
    let mut put = |files: &[(&str, &str)]| {
        for (path, text) in files {
            if tree.get(path).is_none() {
                tree.put(path, 0o644, text.as_bytes());
            }
        }
    };
    put(FILES);
    for key in trusted.keyring.keys() {
        tree.put(
            &format!("etc/daruma/keyring/{}.pem", key.id()),
            0o644,
            key.to_pem()?.into_bytes(),
        );
    }
    // A device must ask for as many signatures as the maker of the keyring does.
    if trusted.keyring.threshold() > 1 {
        let threshold = format!("{}\n", trusted.keyring.threshold());
        tree.put("etc/daruma/keyring/threshold", 0o644, threshold.into_bytes());
    }
    if let Some(root) = &trusted.root {
        tree.put(ROOT, 0o644, root.clone());
    }
    tree.ensure_dir("etc/daruma/health.d");
    if tree.get("usr/lib/systemd/systemd").is_some() {
        // systemd's generator would mount the ESP on /boot. The GRUB environment in the ESP is
        // written sector by sector beside the file system (docs/boot-protocol.md). The partitions'
        // no-auto flag does not stop the generator.
        tree.remove("usr/lib/systemd/system-generators/systemd-gpt-auto-generator");
        for (path, text) in SYSTEMD_FILES {
            if tree.get(path).is_none() {
                tree.put(path, 0o644, text.as_bytes());
            }
        }
        for (path, target) in SYSTEMD_LINKS {
            tree.put_symlink(path, target);
        }
    }
    Ok(())
}

/// Tells the agent which units must work where a device has no baseline yet. Warns of a unit that
/// the image does not have: the agent would not ask for it.
pub fn add_health_units(tree: &mut Tree, units: &[String]) {
    if units.is_empty() {
        return;
    }
    for unit in units.iter().filter(|unit| !has_unit(tree, unit)) {
        eprintln!(
            "warning: health-units names {unit}, which has no file in the image; it counts only if \
                systemd makes it at boot"
        );
    }
    tree.put(HEALTH_UNITS, 0o644, format!("{}\n", units.join("\n")).into_bytes());
}

fn has_unit(tree: &Tree, unit: &str) -> bool {
    let template = unit.split_once('@').and_then(|(stem, instance)| {
        instance.rsplit_once('.').map(|(_, kind)| format!("{stem}@.{kind}"))
    });
    let has = |name: &str| {
        let folders = ["usr/lib/systemd/system", "etc/systemd/system"];
        folders.iter().any(|folder| tree.get(&format!("{folder}/{name}")).is_some())
    };
    has(unit) || template.is_some_and(|template| has(&template))
}

/// Names the SHA-256 of each file of /etc, for the first boot of an update. It then need not read
/// the files that are the same in the old image (`etc_merge::SUMS` has the form). The tree must not
/// change in /etc after this.
///
/// # Errors
/// A file of the tree cannot be read.
pub fn sum_etc(tree: &mut Tree) -> Result<()> {
    let is_file =
        |path: &&str| tree.get(path).is_some_and(|inode| matches!(inode.kind, Kind::File(_)));
    // A line break would end the path.
    let files = tree.below("etc").filter(is_file).filter(|path| !path.contains('\n'));
    let mut lines = String::new();
    for path in files {
        let sum = hex(&Sha256::digest(tree.read(path)?));
        lines.push_str(&format!("{sum}  {path}\n"));
    }
    tree.put(etc_merge::SUMS, 0o644, lines.into_bytes());
    Ok(())
}

/// Returns the configuration and keys that the agent gets in recovery. They are those of the image,
/// without later changes on the device.
///
/// # Errors
/// A file of the tree cannot be read.
pub fn recovery_files(tree: &Tree, identity: String) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = vec![(initramfs::recovery::IDENTITY.to_owned(), identity.into_bytes())];
    let of_agent = |path: &&str| {
        [ROOT, "etc/daruma/daruma.toml"].contains(path) || path.starts_with("etc/daruma/keyring/")
    };
    let paths: Vec<String> = tree.below("etc/daruma").filter(of_agent).map(str::to_owned).collect();
    for path in paths {
        if tree.get(&path).is_some_and(|inode| matches!(inode.kind, Kind::File(_))) {
            let content = tree.read(&path)?;
            files.push((path, content));
        }
    }
    Ok(files)
}
