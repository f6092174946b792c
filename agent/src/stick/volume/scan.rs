//! Lists the volumes that a person may have plugged in.
//!
//! `mount` finds out if there is a file system on one. A volume is a partition of a removable disk,
//! or a removable disk without partitions.

use std::fs;
use std::path::{Path, PathBuf};

use crate::device::Device;

/// Something that may hold a file system. Two volumes are equal only if they are the same disk in
/// the same plugging-in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Volume {
    /// The kernel's name, such as `sda1`.
    pub(crate) name: String,
    /// A number that rises with every disk that comes and every medium that changes (`diskseq`).
    pub(crate) sequence: u64,
}

impl Volume {
    /// Returns the device node.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

/// Returns all volumes that are there now. `sys` is where sysfs is mounted. The disk that the
/// device itself runs from is never among them.
pub(crate) fn scan(sys: &Path, device: &Device) -> Vec<Volume> {
    let own: Vec<&str> =
        device.partition_paths().filter_map(|path| path.file_name()?.to_str()).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(sys.join("block")).into_iter().flatten().flatten() {
        let Ok(folder) = entry.path().canonicalize() else { continue };
        if !is_removable(&folder) || number(&folder.join("size")) == 0 {
            continue;
        }
        let disk = entry.file_name().to_string_lossy().into_owned();
        let sequence = number(&folder.join("diskseq"));
        let mut names: Vec<String> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().join("partition").exists())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        if names.iter().any(|name| own.contains(&name.as_str())) {
            continue;
        }
        if names.is_empty() {
            names.push(disk);
        }
        found.extend(names.into_iter().map(|name| Volume { name, sequence }));
    }
    found.sort();
    found
}

/// Returns true for a removable disk, and for every disk behind USB. A disk behind USB may call
/// itself fixed. A card reader calls its card removable.
fn is_removable(disk: &Path) -> bool {
    number(&disk.join("removable")) == 1
        || disk.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"usb"))
}

fn number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A `/sys` with these disks: where it hangs, name, `removable`, size, partitions.
    fn sys(disks: &[(&str, &str, u8, u64, &[&str])]) -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        fs::create_dir_all(sys.path().join("block")).unwrap();
        for (index, (bus, name, removable, size, partitions)) in disks.iter().enumerate() {
            let folder = sys.path().join("devices").join(bus).join(name);
            for partition in *partitions {
                fs::create_dir_all(folder.join(partition)).unwrap();
                fs::write(folder.join(partition).join("partition"), "1\n").unwrap();
            }
            fs::create_dir_all(folder.join("queue")).unwrap();
            for (file, value) in [
                ("removable", u64::from(*removable)),
                ("size", *size),
                ("diskseq", index as u64 + 1),
            ] {
                fs::write(folder.join(file), format!("{value}\n")).unwrap();
            }
            symlink(&folder, sys.path().join("block").join(name)).unwrap();
        }
        sys
    }

    /// A device in a folder whose partitions are called like those of the disk `own`.
    fn device(own: &str) -> (tempfile::TempDir, Device) {
        let folder = tempfile::tempdir().unwrap();
        for (number, label) in ["esp", "boot-a", "root-a", "boot-b", "root-b"].iter().enumerate() {
            let target = folder.path().join(format!("{own}{}", number + 1));
            fs::write(&target, "").unwrap();
            fs::hard_link(&target, folder.path().join(label)).unwrap();
        }
        fs::write(folder.path().join("cmdline"), "daruma.slot=A").unwrap();
        let device = Device::at(folder.path()).unwrap();
        (folder, device)
    }

    fn names(sys: &Path, device: &Device) -> Vec<String> {
        scan(sys, device).into_iter().map(|volume| volume.name).collect()
    }

    #[test]
    fn sticks_are_found_with_and_without_partitions_and_fixed_disks_are_not() {
        let sys = sys(&[
            ("pci0/ata1", "sda", 0, 1000, &["sda1", "sda2"]),
            ("pci0/usb1/1-1", "sdb", 1, 1000, &["sdb1", "sdb2"]),
            // A disk in a USB case says that it is fixed.
            ("pci0/usb2/2-1", "sdc", 0, 1000, &[]),
            ("pci0/mmc0", "mmcblk1", 1, 1000, &["mmcblk1p1"]),
            // A card reader without a card.
            ("pci0/usb3/3-1", "sdd", 1, 0, &[]),
        ]);
        let (_folder, device) = device("nothing");
        assert_eq!(names(sys.path(), &device), ["mmcblk1p1", "sdb1", "sdb2", "sdc"]);
    }

    #[test]
    fn the_device_that_boots_from_a_stick_does_not_take_it_for_one() {
        let sys = sys(&[
            ("usb1/1-1", "esp", 1, 1000, &["esp", "boot-a"]),
            ("usb1/1-2", "sdb", 1, 1000, &["sdb1"]),
        ]);
        let (_folder, device) = device("sdx");
        assert_eq!(names(sys.path(), &device), ["sdb1"]);
    }

    #[test]
    fn a_stick_that_comes_back_is_another_volume() {
        let (_folder, device) = device("nothing");
        let before = sys(&[("usb1/1-1", "sdb", 1, 1000, &["sdb1"])]);
        let after = sys(&[("usb1/1-2", "sdz", 0, 0, &[]), ("usb1/1-1", "sdb", 1, 1000, &["sdb1"])]);
        assert_ne!(scan(before.path(), &device), scan(after.path(), &device));
    }
}
