//! The actions of disks: image-partition, filesystem-deploy and raw.
//!
//! They are read and checked completely. `bundling::disk` makes the disk.
//! Read this file, then `partition`, `offset` and `fit`.

mod fit;
mod offset;
mod partition;

use std::collections::BTreeSet;

use crate::recipe::action::disk::fit::{Room, fit_all};
use crate::recipe::action::disk::offset::Position;
use crate::recipe::action::disk::partition::{PARTITION, read_id, read_partition};
use crate::recipe::action::origin::{From, Origin, Origins, within};
use crate::recipe::yaml::{Field, Keys, Notes, Place, RecipeError, Table, closest};

pub use fit::Sectors;
pub use partition::{Filesystem, Partition};

pub(super) const IMAGE_PARTITION: Table = Table {
    name: "image-partition",
    about: "Makes a disk with partitions and filesystems.",
    fields: &[
        Field::text("imagename", "Name of the disk in the artifact folder.").required(),
        Field::text("imagesize", "Its size, such as 2GB or 2GiB.").required(),
        Field::word("partitiontype", &["gpt", "msdos"], "Kind of the partition table.").required(),
        Field::text("diskid", "Id of the disk: a UUID for gpt, 8 hexadecimal digits for msdos."),
        Field::text("gpt_gap", "Where the entries of a gpt begin."),
        Field::mappings("partitions", PARTITION, "The partitions."),
        Field::mappings("mountpoints", MOUNTPOINT, "Where they are mounted."),
    ],
};

const MOUNTPOINT: &[Field] = &[
    Field::text("mountpoint", "Absolute path.").required(),
    Field::text("partition", "Name of the partition.").required(),
    Field::texts("options", "Options of mount."),
    Field::flag("buildtime", "True mounts it for the time of the build only."),
];

pub(super) const FILESYSTEM_DEPLOY: Table = Table {
    name: "filesystem-deploy",
    about: "Puts the root filesystem on the disk; later actions work there.",
    fields: &[
        Field::flag("setup-fstab", "False leaves /etc/fstab as it is."),
        Field::flag("setup-kernel-cmdline", "False leaves /etc/kernel/cmdline as it is."),
        Field::text("append-kernel-cmdline", "More text for the kernel command line."),
    ],
};

pub(super) const RAW: Table = Table {
    name: "raw",
    about: "Writes the bytes of a file to the disk.",
    fields: &[
        Field::text("source", "The file in the origin.").required(),
        Field::text("origin", "Where the file is; recipe unless given."),
        Field::text("offset", "Where it goes: bytes, 0x… or sectors (64s); 0 unless given."),
        Field::text("partition", "Name of the partition that the offset counts from."),
        Field::text("path", "Older form: source is then the origin, and this is the file."),
    ],
};

/// Bytes of the entries of a gpt.
pub const ENTRIES_BYTES: u64 = 128 * 128;

/// The `image-partition` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disk {
    /// Name in the artifact folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// True for gpt, false for msdos.
    pub gpt: bool,
    /// Id of the disk.
    pub id: Option<String>,
    /// Bytes of a sector.
    pub sector: u64,
    /// Sector where the entries of a gpt begin.
    pub entries: u64,
    /// In the order of the table.
    pub partitions: Vec<Partition>,
    /// In the order of the recipe.
    pub mountpoints: Vec<Mountpoint>,
}

/// A mountpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mountpoint {
    /// Absolute path.
    pub path: String,
    /// Name of the partition.
    pub partition: String,
    /// Options of mount, after `defaults`.
    pub options: Vec<String>,
    /// True: it is mounted for the time of the build only, and is not in fstab.
    pub buildtime: bool,
}

/// The `filesystem-deploy` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deploy {
    /// Whether /etc/fstab is written.
    pub fstab: bool,
    /// Whether /etc/kernel/cmdline gets the root.
    pub cmdline: bool,
    /// More text for /etc/kernel/cmdline.
    pub append: String,
}

/// The `raw` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    /// The file.
    pub source: From,
    /// Bytes from the beginning of the partition or the disk.
    pub offset: u64,
    /// Name of the partition. `None`: the disk.
    pub partition: Option<String>,
}

/// Reads the keys of `image-partition`.
pub(super) fn read_disk(
    keys: &mut Keys,
    origins: &mut Origins,
    notes: &mut Notes,
) -> Result<Disk, RecipeError> {
    let place = keys.place.clone();
    if origins.partitions.is_some() {
        return Err(place.error("a recipe makes one disk, and this is a second image-partition"));
    }
    let (name, name_place) = keys.required("imagename")?;
    let name = within(&name, "imagename", &name_place)?;
    let (size_text, size_place) = keys.required("imagesize")?;
    let size = offset::size(&size_text).map_err(|why| size_place.error(why))?;
    let Some(kind) = keys.word("partitiontype", &["gpt", "msdos"])? else {
        return Err(place.error("the image-partition action needs the key `partitiontype`"));
    };
    let gpt = kind == "gpt";
    let id = read_id(keys, "diskid", gpt, 8)?;
    let gpt_gap = keys.text_at("gpt_gap")?.filter(|(text, _)| !text.is_empty());
    if let Some((_, place)) = gpt_gap.as_ref().filter(|_| !gpt) {
        return Err(place.error("`gpt_gap` is only for `partitiontype: gpt`"));
    }
    let sector = origins.sector;
    let entries = match &gpt_gap {
        None => 2,
        Some((text, place)) => offset::size(text).map_err(|why| place.error(why))? / sector,
    };
    if size < 128 * sector {
        let message = format!("`imagesize: {size_text}` has no room for a partition table");
        return Err(size_place.error(message));
    }
    let mut partitions: Vec<Partition> = Vec::new();
    let mut taken: Vec<(Position, Position)> = Vec::new();
    let mut places = Vec::new();
    for node in keys.nodes("partitions")? {
        let mut keys = Keys::new("a partition", node, PARTITION, notes)?;
        let place = keys.place.clone();
        let (partition, ends) = read_partition(&mut keys, gpt, size, origins.sector)?;
        if partitions.iter().any(|other| other.name == partition.name) {
            let message = format!("a second partition with the name `{}`", partition.name);
            return Err(place.error(message));
        }
        let before = taken.iter().zip(&partitions).find(|((start, end), _)| {
            let slack = start.slack.max(end.slack).max(ends.0.slack).max(ends.1.slack);
            ends.0.bytes + slack < end.bytes && start.bytes + slack < ends.1.bytes
        });
        if let Some((_, other)) = before {
            return Err(place.error(format_args!(
                "the partition `{}` ({} to {}) overlaps `{}` ({} to {})",
                partition.name, partition.start, partition.end, other.name, other.start, other.end
            )));
        }
        taken.push(ends);
        places.push(place);
        partitions.push(partition);
    }
    let room = Room {
        first: if gpt { entries.max(2) + ENTRIES_BYTES.div_ceil(sector) } else { 1 },
        last: size / sector - if gpt { 2 + ENTRIES_BYTES.div_ceil(sector) } else { 1 },
        sector,
        logical: !gpt && partitions.len() > 4,
    };
    let fitted = fit_all(&taken, room).map_err(|(index, why)| {
        places[index].error(format_args!("the partition `{}` {why}", partitions[index].name))
    })?;
    for (partition, sectors) in partitions.iter_mut().zip(fitted) {
        partition.sectors = sectors;
    }
    if partitions.is_empty() {
        notes.warn(&place, "the disk has no `partitions`; only raw actions can write to it");
    }
    let mut mountpoints: Vec<Mountpoint> = Vec::new();
    for node in keys.nodes("mountpoints")? {
        let mut keys = Keys::new("a mountpoint", node, MOUNTPOINT, notes)?;
        let mountpoint = read_mountpoint(&mut keys, &partitions, &mountpoints)?;
        mountpoints.push(mountpoint);
    }
    origins.partitions = Some(partitions.iter().map(|partition| partition.name.clone()).collect());
    origins.has_root = mountpoints.iter().any(|mountpoint| mountpoint.path == "/");
    Ok(Disk { name, size, gpt, id, sector, entries: entries.max(2), partitions, mountpoints })
}

fn read_mountpoint(
    keys: &mut Keys,
    partitions: &[Partition],
    earlier: &[Mountpoint],
) -> Result<Mountpoint, RecipeError> {
    let (path, place) = keys.required("mountpoint")?;
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(place.error(format_args!("`mountpoint: {path}` must be an absolute path")));
    }
    if earlier.iter().any(|other| other.path == path) {
        return Err(place.error(format_args!("a second partition is mounted at {path}")));
    }
    let (name, name_place) = keys.required("partition")?;
    let Some(partition) = partitions.iter().find(|partition| partition.name == name) else {
        return Err(no_partition(&name_place, &name, partitions.iter().map(|p| p.name.as_str())));
    };
    if let "" | "swap" = partition.filesystem.mounted {
        return Err(name_place.error(format_args!(
            "the partition `{name}` has `fs: {}`, so it cannot be mounted at {path}",
            partition.filesystem.name
        )));
    }
    Ok(Mountpoint {
        path,
        partition: name,
        options: keys.texts("options")?.unwrap_or_default(),
        buildtime: keys.flag("buildtime")?.unwrap_or(false),
    })
}

fn no_partition<'a>(
    place: &Place,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> RecipeError {
    let known: BTreeSet<&str> = known.collect();
    let known: Vec<&str> = known.into_iter().collect();
    let hint = match closest(name, &known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are: {}", known.join(", ")),
    };
    place.error(format_args!("there is no partition `{name}`; {hint}"))
}

/// Reads the keys of `filesystem-deploy`.
pub(super) fn read_deploy(
    keys: &mut Keys,
    origins: &Origins,
    notes: &mut Notes,
) -> Result<Deploy, RecipeError> {
    if origins.partitions.is_none() {
        return Err(keys.place.error(
            "filesystem-deploy needs a disk: an image-partition action must come before it",
        ));
    }
    if !origins.has_root {
        notes.warn(
            &keys.place,
            "the image-partition action has no `mountpoint: /`, so the disk gets only what lies \
                below its mountpoints",
        );
    }
    Ok(Deploy {
        fstab: keys.flag("setup-fstab")?.unwrap_or(true),
        cmdline: keys.flag("setup-kernel-cmdline")?.unwrap_or(true),
        append: keys.text("append-kernel-cmdline")?.unwrap_or_default(),
    })
}

/// Reads the keys of `raw`.
pub(super) fn read_raw(keys: &mut Keys, origins: &Origins) -> Result<Raw, RecipeError> {
    let place = keys.place.clone();
    let Some(partitions) = &origins.partitions else {
        return Err(place.error("raw needs a disk: an image-partition action must come before it"));
    };
    let mut source = keys.required("source")?;
    let mut origin = origins.read(keys, Origin::Recipe(place.resolve("")))?;
    // debos's older form: `source` names the origin, and `path` the file.
    if let Some(path) = keys.text_at("path")?.filter(|(text, _)| !text.is_empty()) {
        origin = origins.named(&source.0, &source.1, &place)?;
        source = path;
    }
    let (path, path_place) = source;
    if let Origin::Recipe(folder) = &origin
        && !origins.made_later()
        && !folder.join(&path).is_file()
    {
        let shown = folder.join(&path);
        return Err(path_place.error(format_args!("`source: {}` is not a file", shown.display())));
    }
    // An origin that is one file has no path in it.
    let path = match &origin {
        Origin::Download { is_folder: false, .. } => String::new(),
        _ => path,
    };
    let offset = match keys.text_at("offset")?.filter(|(text, _)| !text.is_empty()) {
        None => 0,
        Some((text, place)) => offset::offset(&text, origins.sector).ok_or_else(|| {
            place.error(format_args!(
                "`offset: {text}` is neither bytes nor sectors; write 4096, 0x1000 or 8s"
            ))
        })?,
    };
    let partition = keys.text_at("partition")?.filter(|(text, _)| !text.is_empty());
    if let Some((name, place)) = &partition
        && !partitions.contains(name)
    {
        return Err(no_partition(place, name, partitions.iter().map(String::as_str)));
    }
    Ok(Raw { source: From { origin, path }, offset, partition: partition.map(|(name, _)| name) })
}
