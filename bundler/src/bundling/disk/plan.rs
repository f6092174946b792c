//! A disk that is ready to be made: the files that disk.sh reads. And its last steps: GRUB's images
//! for BIOS, and the final name.
//!
//! `rootfs` calls the functions of disk.sh in the order of the actions.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bundling::disk::identity::Identity;
use crate::bundling::disk::{format, fstab, table};
use crate::bundling::tree::{Tree, tar};
use crate::host::tool::ToolError;
use crate::recipe::{Action, Disk, Recipe};

/// The functions, which hooks.sh reads.
const FUNCTIONS: &str = include_str!("disk.sh");
/// The stand-in for GRUB's programs.
const GRUB: &str = include_str!("grub.sh");

/// Bytes of an entry of a gpt, and the most entries.
const ENTRY: u64 = 128;
const ENTRIES: u64 = 128;

/// The disk of a recipe.
#[derive(Clone, Debug)]
pub(in crate::bundling) struct DiskPlan {
    disk: Disk,
    /// Number of the action.
    pub(in crate::bundling) step: usize,
    /// The file while it is made.
    part: PathBuf,
    /// The file when it is whole.
    out: PathBuf,
    /// Folder in which the stand-in leaves what it is asked for.
    asked: PathBuf,
    /// A tar with dpkg's list of the disk's root.
    packages: PathBuf,
}

impl DiskPlan {
    /// Writes the files for disk.sh into `dir`, the folder of this build. `loops`: the build may
    /// use loop devices.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(in crate::bundling) fn new(
        recipe: &Recipe,
        artifacts: &Path,
        dir: &Path,
        loops: bool,
    ) -> Result<Option<Self>> {
        write(&dir.join("disk.sh"), FUNCTIONS)?;
        let found = recipe.steps.iter().enumerate().find_map(|(index, step)| match &step.action {
            Action::Disk(disk) => Some((index, disk)),
            _ => None,
        });
        let Some((step, disk)) = found else { return Ok(None) };
        let part = artifacts.join(format!("{}.part", disk.name));
        let shown = part.to_str().with_context(|| format!("{} is not UTF-8", part.display()))?;
        write(&dir.join("image"), shown)?;
        if loops {
            write(&dir.join("loop"), &disk.sector.to_string())?;
        }
        let identity = Identity::new(recipe);
        let folder = dir.join("disk");
        let asked = dir.join("by").join("daruma");
        for path in [&folder, &asked, &dir.join("by/by-uuid")] {
            fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        }
        let pieces = table::table(disk, &identity, entries(recipe, disk));
        write_table(&folder.join("table"), disk.size, &pieces)?;
        let mut lines = Vec::new();
        for (index, partition) in disk.partitions.iter().enumerate() {
            let Some(text) = format::format(disk, partition, &identity, loops)? else { continue };
            let number = fstab::number(disk, index);
            write(&folder.join(format!("format-{number}")), &text)?;
            let mount = disk.mountpoints.iter().find(|mount| mount.partition == partition.name);
            let (when, at) = match mount {
                None => ("now", "-"),
                Some(mount) if mount.buildtime => ("build", &*mount.path),
                Some(mount) => ("mount", &*mount.path),
            };
            let (offset, length) = extent(disk, index);
            let depth = at.split('/').filter(|part| !part.is_empty()).count();
            lines.push((depth, format!("{number} {offset} {length} {when} {at}\n")));
        }
        // The deepest mountpoints are cut out of the tree first.
        lines.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
        let mut layout = String::new();
        for (_, line) in &lines {
            let _ = write!(layout, "{line}");
        }
        write(&folder.join("layout"), &layout)?;
        write(&folder.join("fstab"), &fstab::fstab(disk, &identity))?;
        write(&folder.join("root"), &fstab::kernel_root(disk, &identity))?;
        write(&asked.join("mounts"), &fstab::grub_mounts(disk, &identity))?;
        write(&asked.join("facts"), &fstab::grub_facts(disk))?;
        for (_, partition, _) in fstab::mounts(disk) {
            write(&dir.join("by/by-uuid").join(identity.mounted(partition)), "")?;
        }
        let grub = folder.join("grub.sh");
        write(&grub, GRUB)?;
        fs::set_permissions(&grub, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("writing {}", grub.display()))?;
        let out = artifacts.join(&disk.name);
        let packages = dir.join("packages.tar");
        Ok(Some(Self { disk: disk.clone(), step, part, out, asked, packages }))
    }

    /// Makes the disk whole and gives it its name.
    ///
    /// # Errors
    /// GRUB's images are of an unknown form, or the disk cannot be written.
    pub(in crate::bundling) fn finish(&self) -> Result<()> {
        let boot = self.asked.join("boot.img");
        if boot.exists() {
            embed(self, &boot)?;
        }
        let sync = |path: &Path| fs::File::open(path).and_then(|file| file.sync_all());
        let named = sync(&self.part).and_then(|()| fs::rename(&self.part, &self.out));
        let parent = self.out.parent().unwrap_or(Path::new("."));
        let kept = named.and_then(|()| sync(parent));
        kept.with_context(|| format!("writing {}", self.out.display()))
    }

    /// Returns dpkg's list and the licences of the disk's root. `None`: the disk has no root, or
    /// not with a list.
    pub(in crate::bundling) fn packages(&self) -> Option<Tree> {
        tar::load(&self.packages, 0).ok().map(|loaded| loaded.tree)
    }

    /// Removes the unfinished disk.
    pub(in crate::bundling) fn remove(&self) {
        let _ = fs::remove_file(&self.part);
    }

    /// Returns where a `raw` action writes: the first byte, and how many bytes there are.
    pub(in crate::bundling) fn room(&self, partition: Option<&str>, offset: u64) -> (u64, u64) {
        let named = partition.and_then(|n| self.disk.partitions.iter().position(|p| p.name == n));
        let (begin, length) = named.map_or((0, self.disk.size), |i| extent(&self.disk, i));
        (begin + offset, length.saturating_sub(offset))
    }
}

/// First byte of a partition, and its length.
fn extent(disk: &Disk, index: usize) -> (u64, u64) {
    let place = disk.partitions[index].sectors;
    (place.first * disk.sector, (place.last - place.first + 1) * disk.sector)
}

/// The number of entries of the gpt. A boot loader of a board may lie in the middle of the usual
/// 128. The table is then made so short that both are whole.
fn entries(recipe: &Recipe, disk: &Disk) -> usize {
    let begin = disk.entries * disk.sector;
    let raws = recipe.steps.iter().filter_map(|step| match &step.action {
        Action::Raw(raw) if raw.partition.is_none() => Some(raw.offset),
        _ => None,
    });
    let free = raws.filter_map(|offset| offset.checked_sub(begin)).map(|bytes| bytes / ENTRY);
    let count = free.min().unwrap_or(ENTRIES).min(ENTRIES);
    let needed = disk.partitions.len().max(1) as u64;
    if count < needed { ENTRIES as usize } else { count as usize }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn write_table(path: &Path, size: u64, pieces: &table::Pieces) -> Result<()> {
    let written = fs::File::create(path).and_then(|file| {
        file.set_len(size)?;
        pieces.iter().try_for_each(|(offset, bytes)| file.write_all_at(bytes, *offset))
    });
    written.with_context(|| format!("writing {}", path.display()))
}

/// Writes the core image into its gap, and the code that starts it into the first sector.
fn embed(plan: &DiskPlan, boot: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let core = read(&plan.asked.join("core.img"))?;
    let (at, _) =
        fstab::core_room(&plan.disk).context("there is no place for GRUB's core image")?;
    let (code, core) = image_layout::place_grub(&read(boot)?, core, at).ok_or_else(|| {
        ToolError("the root's GRUB is not 2.06 or 2.12, whose images are known".to_owned())
    })?;
    let written: io::Result<()> =
        fs::File::options().write(true).open(&plan.part).and_then(|disk| {
            disk.write_all_at(&core, at * plan.disk.sector)?;
            // The table begins after the code.
            disk.write_all_at(&code, 0)
        });
    written.with_context(|| format!("writing {}", plan.part.display()))
}
