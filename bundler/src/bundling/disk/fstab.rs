//! The texts of a disk: /etc/fstab, the root on the kernel command line, and what the stand-in for
//! GRUB's programs knows.
//!
//! `plan` writes them beside the hooks, and disk.sh puts them into the root.

use std::fmt::Write;

use crate::bundling::disk::identity::Identity;
use crate::bundling::disk::kind;
use crate::recipe::{Disk, Mountpoint, Partition};

/// The mountpoints with their partitions and numbers in the table, the root first.
pub(super) fn mounts(disk: &Disk) -> Vec<(&Mountpoint, &Partition, usize)> {
    let mut all: Vec<_> = disk
        .mountpoints
        .iter()
        .filter_map(|mount| {
            let index = disk.partitions.iter().position(|p| p.name == mount.partition)?;
            Some((mount, &disk.partitions[index], number(disk, index)))
        })
        .collect();
    all.sort_by_key(|(mount, ..)| depth(&mount.path));
    all
}

/// How deep a mountpoint lies. The root is 0.
fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

/// The number of a partition in the table. In an msdos table of more than four partitions the
/// fourth is the extended one.
pub(super) fn number(disk: &Disk, index: usize) -> usize {
    let shifts = !disk.gpt && disk.partitions.len() > 4 && index >= 3;
    if shifts { index + 2 } else { index + 1 }
}

/// The text of /etc/fstab.
pub(super) fn fstab(disk: &Disk, identity: &Identity) -> String {
    let mut text = String::new();
    for (mount, partition, number) in mounts(disk) {
        if mount.buildtime {
            continue;
        }
        let pass = match (partition.fsck, mount.path.as_str()) {
            (false, _) => 0,
            _ if has_no_id(partition) => 0,
            (true, "/") => 1,
            (true, _) => 2,
        };
        let mut options = vec!["defaults"];
        options.extend(mount.options.iter().map(String::as_str));
        let _ = writeln!(
            text,
            "{}\t{}\t{}\t{}\t0\t{pass}",
            source(disk, partition, number, identity),
            mount.path.replace(' ', "\\040"),
            partition.filesystem.mounted,
            options.join(",")
        );
    }
    text
}

/// Whether the filesystem has no id, and nothing that fsck could repair: a SquashFS.
fn has_no_id(partition: &Partition) -> bool {
    partition.filesystem.mounted == "squashfs"
}

/// What a system finds a partition by: the id of its filesystem, or else its own.
fn source(disk: &Disk, partition: &Partition, number: usize, identity: &Identity) -> String {
    if !has_no_id(partition) {
        return format!("UUID={}", identity.mounted(partition));
    }
    if disk.gpt {
        return format!("PARTUUID={}", identity.partition(partition));
    }
    format!("PARTUUID={:08x}-{number:02x}", identity.disk_number(disk))
}

/// `root=UUID=…`, or nothing if the disk has no root.
pub(super) fn kernel_root(disk: &Disk, identity: &Identity) -> String {
    let mounts = mounts(disk);
    let root = mounts.iter().find(|(mount, ..)| depth(&mount.path) == 0);
    root.map_or(String::new(), |(_, partition, number)| {
        format!("root={}", source(disk, partition, *number, identity))
    })
}

/// One line for each mountpoint: number, id of the filesystem, id of the partition (or `-`), type
/// of the filesystem for GRUB, mountpoint.
pub(super) fn grub_mounts(disk: &Disk, identity: &Identity) -> String {
    let mut text = String::new();
    for (mount, partition, number) in mounts(disk) {
        let kind = match partition.filesystem.mounted {
            "ext2" | "ext3" | "ext4" => "ext2",
            "vfat" => "fat",
            other => other,
        };
        let id = if disk.gpt { identity.partition(partition).to_string() } else { "-".to_owned() };
        let uuid = identity.mounted(partition);
        let _ = writeln!(text, "{number} {uuid} {id} {kind} {}", mount.path);
    }
    text
}

/// What the stand-in knows of the disk, as variables of a shell. `room` is the number of sectors
/// for GRUB's core image.
pub(super) fn grub_facts(disk: &Disk) -> String {
    let room = core_room(disk).map_or(0, |(_, sectors)| sectors);
    let table = if disk.gpt { "gpt" } else { "msdos" };
    format!("TABLE={table} SECTOR={} ROOM={room}\n", disk.sector)
}

/// Where GRUB's core image goes: its first sector, and how many there are.
pub(super) fn core_room(disk: &Disk) -> Option<(u64, u64)> {
    if disk.gpt {
        let place = disk.partitions.iter().find(|p| kind::is_for_grub(p))?.sectors;
        return Some((place.first, place.last - place.first + 1));
    }
    let begins = disk.partitions.iter().map(|p| p.sectors.record.unwrap_or(p.sectors.first));
    begins.min().map(|first| (1, first - 1))
}
