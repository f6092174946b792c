//! A partition of a disk: its keys, and their checks.
//!
//! The folder's mod.rs reads the disk, and compares its partitions with each other.

use crate::recipe::action::disk::fit::Sectors;
use crate::recipe::action::disk::offset::{self, Position};
use crate::recipe::yaml::{Field, Keys, RecipeError, closest};

pub(super) const PARTITION: &[Field] = &[
    Field::text("name", "Name for mountpoints, and label unless others are given.").required(),
    Field::word("fs", FILESYSTEMS, "Filesystem.").required(),
    Field::text("start", "Where it begins, such as 1MiB, 2048s or 10%.").required(),
    Field::text("end", "Where it ends, such as 64MB, -16MiB or 100%.").required(),
    Field::text("partlabel", "Name in a gpt; name unless given."),
    Field::text("fslabel", "Label of the filesystem; name unless given."),
    Field::text("fsuuid", "Id of the filesystem."),
    Field::text("partuuid", "Id of the partition in a gpt: a UUID."),
    Field::text("parttype", "Type: a UUID for gpt, two hexadecimal digits for msdos."),
    Field::texts("partattrs", "Numbers of attributes in a gpt."),
    Field::texts("flags", "Flags of parted, such as boot and esp."),
    Field::texts("features", "Features of the filesystem; ^ turns one off."),
    Field::texts("extendedoptions", "Extended options of ext2 to ext4, or of f2fs."),
    Field::flag("fsck", "False sets the pass of fstab to 0."),
];

const FILESYSTEMS: &[&str] = &[
    "none", "ext2", "ext3", "ext4", "vfat", "fat", "fat12", "fat16", "fat32", "msdos", "btrfs",
    "f2fs", "xfs", "squashfs", "hfs", "hfsplus", "hfsx", "swap",
];

const FLAGS: &[&str] = &[
    "boot",
    "root",
    "swap",
    "hidden",
    "raid",
    "lvm",
    "lba",
    "legacy_boot",
    "irst",
    "msftres",
    "esp",
    "chromeos_kernel",
    "bls_boot",
    "linux-home",
    "no_automount",
    "bios_grub",
    "palo",
    "prep",
    "msftdata",
    "diag",
    "atvrecv",
];

/// A filesystem of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filesystem {
    /// The name in the recipe.
    pub name: &'static str,
    /// The name for mount and fstab. Empty: there is no filesystem.
    pub mounted: &'static str,
    /// Most bytes of its label.
    pub label_limit: usize,
}

impl Filesystem {
    fn named(name: &'static str) -> Self {
        let (mounted, label_limit) = match name {
            "none" => ("", 0),
            "vfat" | "fat" | "fat12" | "fat16" | "fat32" | "msdos" => ("vfat", 11),
            "ext2" | "ext3" | "ext4" => (name, 16),
            "xfs" => (name, 12),
            "f2fs" => (name, 512),
            "swap" => (name, 15),
            "hfsx" => ("hfsplus", 255),
            _ => (name, 255),
        };
        Self { name, mounted, label_limit }
    }
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Name for mountpoints.
    pub name: String,
    /// Name in a gpt.
    pub label: String,
    /// Label of the filesystem.
    pub fs_label: String,
    /// Filesystem.
    pub filesystem: Filesystem,
    /// Where it begins, as parted takes it.
    pub start: String,
    /// Where it ends, as parted takes it.
    pub end: String,
    /// First byte, and the byte after the last one, as the recipe names them.
    pub bytes: (u64, u64),
    /// Where it lies.
    pub sectors: Sectors,
    /// Id of the filesystem.
    pub fs_uuid: Option<String>,
    /// Id of the partition.
    pub uuid: Option<String>,
    /// Type of the partition.
    pub kind: Option<String>,
    /// Numbers of attributes in a gpt.
    pub attributes: Vec<u8>,
    /// Flags of parted.
    pub flags: Vec<String>,
    /// Features of the filesystem.
    pub features: Vec<String>,
    /// Extended options of the filesystem.
    pub extended_options: Vec<String>,
    /// False sets the pass of fstab to 0.
    pub fsck: bool,
}

/// Reads the keys of a partition. Returns it, and where it begins and ends.
pub(super) fn read_partition(
    keys: &mut Keys,
    gpt: bool,
    disk: u64,
    sector: u64,
) -> Result<(Partition, (Position, Position)), RecipeError> {
    let place = keys.place.clone();
    let (name, _) = keys.required("name")?;
    keys.what = format!("the partition `{name}`");
    let Some(fs) = keys.word("fs", FILESYSTEMS)? else {
        return Err(place.error(format_args!("{} needs the key `fs`", keys.what)));
    };
    let filesystem = Filesystem::named(fs);
    let (start, start_place) = keys.required("start")?;
    let (end, end_place) = keys.required("end")?;
    let from = offset::position(&start, disk, sector).map_err(|why| start_place.error(why))?;
    let to = offset::position(&end, disk, sector).map_err(|why| end_place.error(why))?;
    if from.bytes >= to.bytes {
        return Err(end_place.error(format_args!("the partition `{name}` ends before it begins")));
    }
    if to.bytes > disk + to.slack {
        return Err(end_place.error(format_args!(
            "the partition `{name}` ends at {end}, beyond the disk of {disk} bytes; make \
                `imagesize` larger"
        )));
    }
    let label = keys.text_at("partlabel")?.filter(|(text, _)| !text.is_empty());
    if let Some((_, place)) = label.as_ref().filter(|_| !gpt) {
        return Err(place.error("`partlabel` is only for `partitiontype: gpt`"));
    }
    let label = label.map_or_else(|| name.clone(), |(label, _)| label);
    if gpt && label.encode_utf16().count() > 36 {
        return Err(place.error("the name of a gpt partition has at most 36 characters"));
    }
    let fs_label = keys.text_at("fslabel")?.filter(|(text, _)| !text.is_empty());
    if let Some((_, place)) = fs_label.as_ref().filter(|_| filesystem.mounted == "squashfs") {
        return Err(place.error("squashfs has no label; leave out `fslabel`"));
    }
    let (fs_label, label_place) = fs_label.unwrap_or_else(|| (name.clone(), place.clone()));
    if !filesystem.mounted.is_empty() && fs_label.len() > filesystem.label_limit {
        return Err(label_place.error(format_args!(
            "the label `{fs_label}` has {} bytes, and {} has room for {}; give a shorter \
                `fslabel`",
            fs_label.len(),
            filesystem.name,
            filesystem.label_limit
        )));
    }
    let partition = Partition {
        label,
        fs_label,
        bytes: (from.bytes, to.bytes),
        sectors: Sectors::default(),
        fs_uuid: read_fs_uuid(keys, filesystem)?,
        uuid: read_partuuid(keys, gpt)?,
        kind: read_id(keys, "parttype", gpt, 2)?,
        attributes: read_attributes(keys, gpt)?,
        flags: read_flags(keys)?,
        features: keys.texts("features")?.unwrap_or_default(),
        extended_options: keys.texts("extendedoptions")?.unwrap_or_default(),
        fsck: keys.flag("fsck")?.unwrap_or(true),
        name,
        filesystem,
        start,
        end,
    };
    Ok((partition, (from, to)))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::parse_str(text).is_ok()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads an id that is a UUID for gpt and some hexadecimal digits for msdos.
pub(super) fn read_id(
    keys: &mut Keys,
    name: &'static str,
    gpt: bool,
    digits: usize,
) -> Result<Option<String>, RecipeError> {
    let Some((text, place)) = keys.text_at(name)?.filter(|(text, _)| !text.is_empty()) else {
        return Ok(None);
    };
    let plain = text.strip_prefix("0x").unwrap_or(&text);
    match (gpt, is_uuid(&text)) {
        (true, true) => Ok(Some(text)),
        (true, false) => Err(place.error(format_args!("`{name}: {text}` is not a UUID"))),
        (false, _) if is_hex(plain, digits) => Ok(Some(plain.to_ascii_lowercase())),
        (false, _) => Err(place.error(format_args!(
            "`{name}: {text}` is not {digits} hexadecimal digits, as msdos needs them"
        ))),
    }
}

fn read_fs_uuid(keys: &mut Keys, fs: Filesystem) -> Result<Option<String>, RecipeError> {
    let Some((text, place)) = keys.text_at("fsuuid")?.filter(|(text, _)| !text.is_empty()) else {
        return Ok(None);
    };
    match fs.mounted {
        "ext2" | "ext3" | "ext4" | "btrfs" | "xfs" | "swap" if is_uuid(&text) => Ok(Some(text)),
        "ext2" | "ext3" | "ext4" | "btrfs" | "xfs" | "swap" => {
            Err(place.error(format_args!("`fsuuid: {text}` is not a UUID")))
        }
        "vfat" if is_hex(&text.replace('-', ""), 8) => Ok(Some(text.replace('-', ""))),
        "vfat" => {
            Err(place
                .error(format_args!("`fsuuid: {text}` is not 8 hexadecimal digits, as fat is")))
        }
        _ => Err(place.error(format_args!("`fsuuid` cannot be set for {}", fs.name))),
    }
}

fn read_partuuid(keys: &mut Keys, gpt: bool) -> Result<Option<String>, RecipeError> {
    match keys.text_at("partuuid")?.filter(|(text, _)| !text.is_empty()) {
        None => Ok(None),
        Some((_, place)) if !gpt => Err(place.error("`partuuid` is only for `partitiontype: gpt`")),
        Some((text, _)) if is_uuid(&text) => Ok(Some(text)),
        Some((text, place)) => Err(place.error(format_args!("`partuuid: {text}` is not a UUID"))),
    }
}

fn read_attributes(keys: &mut Keys, gpt: bool) -> Result<Vec<u8>, RecipeError> {
    let mut numbers = Vec::new();
    for (text, place) in keys.list("partattrs")?.unwrap_or_default() {
        // 3 to 47 belong to the standard.
        let number = text.parse().ok().filter(|n| *n < 3 || (48..64).contains(n));
        match number {
            Some(number) if gpt => numbers.push(number),
            Some(_) => return Err(place.error("`partattrs` is only for `partitiontype: gpt`")),
            None => {
                let message = format!("`partattrs` has `{text}`; it takes 0 to 2 and 48 to 63");
                return Err(place.error(message));
            }
        }
    }
    Ok(numbers)
}

fn read_flags(keys: &mut Keys) -> Result<Vec<String>, RecipeError> {
    let mut flags = Vec::new();
    for (flag, place) in keys.list("flags")?.unwrap_or_default() {
        if !FLAGS.contains(&flag.as_str()) {
            let hint = match closest(&flag, FLAGS) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known: {}", FLAGS.join(", ")),
            };
            return Err(place.error(format_args!("`flags` has the unknown `{flag}`; {hint}")));
        }
        flags.push(flag);
    }
    Ok(flags)
}
