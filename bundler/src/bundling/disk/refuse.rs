//! What cannot be done without block devices, and the programs that a disk needs.
//!
//! `rootfs` asks before anything starts.

use crate::bundling::disk::kind;
use crate::recipe::{Action, Disk, Partition, Recipe, RecipeError, Step};

/// Refuses a disk that cannot be made.
///
/// # Errors
/// One line with file, line, action and reason.
pub(in crate::bundling) fn refuse(recipe: &Recipe) -> Result<(), RecipeError> {
    let mut deployed = false;
    for step in &recipe.steps {
        match &step.action {
            Action::Disk(disk) => refuse_disk(step, disk)?,
            Action::Deploy(_) if deployed => {
                return Err(wrong(step, "it is a second one, and a recipe makes one disk"));
            }
            Action::Deploy(_) => deployed = true,
            _ => {}
        }
    }
    Ok(())
}

fn refuse_disk(step: &Step, disk: &Disk) -> Result<(), RecipeError> {
    for partition in &disk.partitions {
        let name = &partition.name;
        let is_mounted = disk.mountpoints.iter().any(|mount| mount.partition == *name);
        let why = match partition.filesystem.mounted {
            "hfs" | "hfsplus" => "Debian has no program that fills this filesystem without a mount",
            _ => "",
        };
        if !why.is_empty() {
            let fs = partition.filesystem.name;
            return Err(wrong(step, &format!("the partition `{name}` has `fs: {fs}`: {why}")));
        }
        if let Some(why) = partition.flags.iter().find_map(|f| kind::wrong_flag(f, disk.gpt)) {
            return Err(wrong(step, &format!("the partition `{name}`: {why}")));
        }
        if is_mounted && mounted_twice(disk, partition) {
            return Err(wrong(step, &format!("the partition `{name}` has two mountpoints")));
        }
    }
    Ok(())
}

fn mounted_twice(disk: &Disk, partition: &Partition) -> bool {
    disk.mountpoints.iter().filter(|mount| mount.partition == partition.name).count() > 1
}

fn wrong(step: &Step, why: &str) -> RecipeError {
    step.place.error(format_args!("the {} action: {why}", step.name))
}

/// Returns the programs that the disk of a recipe needs, each with its Debian package.
pub(in crate::bundling) fn tools(recipe: &Recipe) -> Vec<(&'static str, &'static str)> {
    let disks = recipe.steps.iter().filter_map(|step| match &step.action {
        Action::Disk(disk) => Some(disk),
        _ => None,
    });
    let partitions = disks.flat_map(|disk| &disk.partitions);
    let needed = partitions.flat_map(|partition| match partition.filesystem.mounted {
        "vfat" => &[("mkfs.fat", "dosfstools"), ("mcopy", "mtools"), ("mmd", "mtools")][..],
        "ext2" | "ext3" | "ext4" => &[("mke2fs", "e2fsprogs"), ("debugfs", "e2fsprogs")],
        "btrfs" => &[("mkfs.btrfs", "btrfs-progs")],
        "f2fs" => {
            &[("mkfs.f2fs", "f2fs-tools"), ("sload.f2fs", "f2fs-tools"), ("getfattr", "attr")]
        }
        "xfs" => &[
            ("mkfs.xfs", "xfsprogs"),
            ("xfs_db", "xfsprogs"),
            ("faketime", "faketime"),
            ("getfattr", "attr"),
        ],
        "squashfs" => &[("mksquashfs", "squashfs-tools")],
        "swap" => &[("mkswap", "util-linux")],
        _ => &[],
    });
    needed.copied().collect()
}
