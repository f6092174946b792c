//! The types and flags of partitions, as parted writes them.
//!
//! `table` puts them into the entries. `parttype` of the recipe comes before everything here.

use uuid::{Uuid, uuid};

use crate::recipe::Partition;

const LINUX: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
const BASIC_DATA: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
const SWAP: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");
const BIOS_GRUB: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");

/// Flags that give a partition of a gpt its type.
const TYPES: &[(&str, Uuid)] = &[
    ("boot", uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")),
    ("esp", uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")),
    ("bios_grub", BIOS_GRUB),
    ("swap", SWAP),
    ("raid", uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e")),
    ("lvm", uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928")),
    ("prep", uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b")),
    ("msftdata", BASIC_DATA),
    ("msftres", uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae")),
    ("diag", uuid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac")),
    ("irst", uuid!("d3bfe2de-3daf-11df-ba40-e3a556d89593")),
    ("atvrecv", uuid!("5265636f-7665-11aa-aa11-00306543ecac")),
    ("chromeos_kernel", uuid!("fe3a2a5d-4f32-41a7-b725-accc3285a309")),
    ("bls_boot", uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172")),
    ("linux-home", uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915")),
];

/// Flags that set an attribute of a gpt partition.
const ATTRIBUTES: &[(&str, u8)] = &[("legacy_boot", 2), ("hidden", 62), ("no_automount", 63)];

/// Flags of an msdos table, and the type that they give.
const BYTES: &[(&str, u8)] = &[
    ("swap", 0x82),
    ("raid", 0xfd),
    ("lvm", 0x8e),
    ("esp", 0xef),
    ("prep", 0x41),
    ("palo", 0xf0),
    ("diag", 0x27),
    ("irst", 0x84),
    ("bls_boot", 0xea),
];

/// Returns why a flag cannot be set in this kind of table.
pub(super) fn wrong_flag(flag: &str, gpt: bool) -> Option<String> {
    let (known, kind) = if gpt {
        let known = TYPES.iter().any(|(name, _)| *name == flag)
            || ATTRIBUTES.iter().any(|(name, _)| *name == flag);
        (known, "gpt")
    } else {
        let known = BYTES.iter().any(|(name, _)| *name == flag);
        (known || matches!(flag, "boot" | "lba" | "hidden"), "msdos")
    };
    (!known).then(|| format!("the flag `{flag}` does not exist in a {kind} table"))
}

/// Returns whether GRUB's core image goes into this partition.
pub(super) fn is_for_grub(partition: &Partition) -> bool {
    gpt_type(partition) == BIOS_GRUB
}

/// Returns the type in a gpt.
pub(super) fn gpt_type(partition: &Partition) -> Uuid {
    if let Some(kind) = partition.kind.as_ref().and_then(|text| Uuid::parse_str(text).ok()) {
        return kind;
    }
    let by_flag = partition
        .flags
        .iter()
        .rev()
        .find_map(|flag| TYPES.iter().find(|(name, _)| name == flag).map(|(_, kind)| *kind));
    by_flag.unwrap_or(match partition.filesystem.mounted {
        "vfat" => BASIC_DATA,
        "swap" => SWAP,
        _ => LINUX,
    })
}

/// Returns the attributes in a gpt.
pub(super) fn gpt_attributes(partition: &Partition) -> u64 {
    let by_flag = ATTRIBUTES.iter().filter(|(name, _)| partition.flags.iter().any(|f| f == name));
    let numbers = by_flag.map(|(_, number)| number).chain(&partition.attributes);
    numbers.fold(0, |all, number| all | 1 << number)
}

/// Returns the type in an msdos table.
pub(super) fn dos_type(partition: &Partition) -> u8 {
    if let Some(kind) = &partition.kind {
        return u8::from_str_radix(kind, 16).unwrap_or(0x83);
    }
    let has = |flag: &str| partition.flags.iter().any(|f| f == flag);
    let by_flag = partition
        .flags
        .iter()
        .rev()
        .find_map(|flag| BYTES.iter().find(|(name, _)| name == flag).map(|(_, kind)| *kind));
    let kind = by_flag.unwrap_or(match partition.filesystem.name {
        "fat12" => 0x01,
        "fat16" => 0x0e,
        "vfat" | "fat" | "fat32" | "msdos" => 0x0c,
        "swap" => 0x82,
        _ => 0x83,
    });
    let hides = has("hidden") && matches!(kind, 0x01 | 0x0c | 0x0e);
    if hides { kind | 0x10 } else { kind }
}

/// Returns whether a partition of an msdos table is the active one.
pub(super) fn is_active(partition: &Partition) -> bool {
    partition.flags.iter().any(|flag| flag == "boot")
}
