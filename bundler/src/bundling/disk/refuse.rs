//! What cannot be done without block devices, and the programs that a disk needs.
//!
//! `rootfs` asks before anything starts.

use crate::bundling::disk::format::MOUNTED;
use crate::bundling::disk::kind;
use crate::host::tool::{self, ToolError};
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

/// Checks that root's build can use loop devices and the kernel's filesystems.
///
/// # Errors
/// One line says what is missing.
pub(in crate::bundling) fn check_loops(recipe: &Recipe, is_root: bool) -> Result<(), ToolError> {
    let refused = |why: String| {
        ToolError(format!("--loop: {why}; leave out --loop, and the disk is made without"))
    };
    if !is_root {
        return Err(refused("only root may use loop devices".to_owned()));
    }
    let file = tempfile::NamedTempFile::new().and_then(|file| {
        file.as_file().set_len(1 << 20)?;
        Ok(file)
    });
    let file = file.map_err(|error| refused(format!("making a temporary file: {error}")))?;
    let attach = tool::run(tool::command("losetup").args(["--find", "--show"]).arg(file.path()));
    let attached =
        attach.map_err(|error| refused(format!("this host has no loop device: {error}")))?;
    tool::run(tool::command("losetup").arg("--detach").arg(attached.trim()))
        .map_err(|error| refused(error.to_string()))?;
    let disks = recipe.steps.iter().filter_map(|step| match &step.action {
        Action::Disk(disk) => Some(disk),
        _ => None,
    });
    for partition in disks.flat_map(|disk| &disk.partitions) {
        let kind = partition.filesystem.mounted;
        if MOUNTED.contains(&kind) && !kernel_has(kind) {
            return Err(refused(format!("this host's kernel has no driver for {kind}")));
        }
    }
    Ok(())
}

/// Returns whether the kernel mounts a kind of filesystem. Asks for the module, as mount does.
fn kernel_has(kind: &str) -> bool {
    let has = || {
        let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        list.lines().any(|line| line.trim() == kind)
    };
    has() || tool::run(tool::command("modprobe").args(["-q", kind])).is_ok() && has()
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
