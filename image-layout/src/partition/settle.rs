//! Adapts the partition table of the factory image to the disk that holds it.
//!
//! `table` reads it, and daruma-init says when. Afterwards `var` fills the disk, and the disk has
//! its own GUIDs.

use std::io;

use uuid::{Builder, Uuid};

use crate::partition::gpt::{
    BACKUP_SECTORS, ENTRY_BYTES, Entry, Header, PRIMARY_END, PRIMARY_ENTRIES, SECTOR,
};
use crate::partition::label;
use crate::partition::table::{reading, writing};
use crate::{ALIGNMENT, Disk, PartitionTable, TableCopy, TableError};

/// How `var` has grown; sizes and the offset are in bytes.
///
/// The kernel still has the old size. Tell the kernel the new one (`BLKPG_RESIZE_PARTITION` with
/// these numbers), then grow the filesystem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewSize {
    /// GPT number of the partition
    pub number: u32,
    /// The partition's first byte, which stays where it is
    pub offset: u64,
    /// Size until now
    pub old_size: u64,
    /// Size from now on
    pub size: u64,
}

/// What [`settle_table`] has changed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Settled {
    /// Set if `var` now reaches the end of the disk; `None` if it did before
    pub grown: Option<NewSize>,
    /// The new GUID of the disk, if disk and partitions got GUIDs of their own
    pub disk_guid: Option<Uuid>,
}

/// A source of random bytes: 16 for each GUID.
pub type Random<'a> = &'a mut dyn FnMut() -> io::Result<[u8; 16]>;

/// Enlarges `var` to the end of the disk, moves the backup table there, and gives the disk and its
/// partitions random GUIDs. All of that is one change of the table.
///
/// It gives new GUIDs only if `random` is set and [`PartitionTable::is_factory`] holds. One image
/// gives the same GUIDs to every device, and a device's own GUIDs never change again. It writes
/// nothing when nothing changes. The kernel uses the table that it has read until the next boot.
///
/// A power cut at any moment leaves the table as it was or as it will be, and the next call
/// finishes:
///
/// 1. new backup (entries, header) at the end of the disk, in sectors that no partition has; sync
/// 2. new primary entries in the one of their two places that is not in use; sync
/// 3. the primary header: one sector, which switches everything at once; sync
///
/// Overwriting the primary entries in place would not do. As long as header and entries disagree,
/// Linux sees no partition at all: without the parameter `gpt` it does not look for the backup. If
/// the primary table is damaged, 2 and 3 come before 1. The copy that was read is overwritten last.
///
/// # Errors
/// Those of [`PartitionTable::read`]. [`TableError::Io`] when there are no random bytes.
/// [`TableError::Invalid`] when the last partition on the disk is not `var`. It is also returned
/// when another tool made the table and left no room for the second place of the entries.
pub fn settle_table(disk: &impl Disk, random: Option<Random<'_>>) -> Result<Settled, TableError> {
    let table = PartitionTable::read(disk)?;
    let sectors = disk.size().map_err(reading)? / SECTOR;
    let last = table.partitions.iter().max_by_key(|partition| partition.offset);
    let Some(var) = last.filter(|partition| partition.label == label::VAR) else {
        return Err(TableError::Invalid("the last partition on the disk is not var"));
    };
    if table.partitions.iter().any(|partition| partition.offset < PRIMARY_END * SECTOR) {
        return Err(TableError::Invalid(
            "a partition lies in the first 33 kB, where the table needs room",
        ));
    }
    let end = (sectors - BACKUP_SECTORS) * SECTOR / ALIGNMENT * ALIGNMENT;
    let size = end.saturating_sub(var.offset).max(var.size);
    if (var.offset + size).div_ceil(SECTOR) > sectors - BACKUP_SECTORS {
        return Err(TableError::Invalid(
            "var leaves no room for the backup table at the end of the disk",
        ));
    }
    let grows = size > var.size;
    let random = random.filter(|_| table.is_factory());
    if !grows && random.is_none() && table.copy == TableCopy::Primary {
        return Ok(Settled::default());
    }

    let mut entries = table.entries.clone();
    let mut disk_guid = None;
    if let Some(random) = random {
        let mut guid = || random().map(|bytes| Builder::from_random_bytes(bytes).into_uuid());
        let mut guid =
            || guid().map_err(|source| TableError::Io { doing: "make GUIDs for", source });
        disk_guid = Some(guid()?);
        for partition in &table.partitions {
            let place = (partition.number as usize - 1) * ENTRY_BYTES;
            entries[place + 16..place + 32].copy_from_slice(&guid()?.to_bytes_le());
        }
    }
    let place = (var.number as usize - 1) * ENTRY_BYTES;
    if let Some(mut entry) = Entry::decode(&entries[place..place + ENTRY_BYTES]) {
        entry.last_lba = (var.offset + size) / SECTOR - 1;
        // The code changes only this field: a label in another tool's spelling stays as it is.
        entries[place + 40..place + 48].copy_from_slice(&entry.last_lba.to_le_bytes());
    }
    let spare = if table.header.entries_lba == PRIMARY_ENTRIES[0] {
        PRIMARY_ENTRIES[1]
    } else {
        PRIMARY_ENTRIES[0]
    };
    let primary = Header {
        my_lba: 1,
        alternate_lba: sectors - 1,
        first_usable: table.header.first_usable.max(PRIMARY_END),
        last_usable: sectors - BACKUP_SECTORS - 1,
        disk_guid: disk_guid.unwrap_or(table.header.disk_guid),
        entries_lba: spare,
        entries_crc: crc32fast::hash(&entries),
    };
    let backup = primary.backup();
    match table.copy {
        TableCopy::Primary => {
            write_copy(disk, &backup, &entries)?;
            write_copy(disk, &primary, &entries)?;
        }
        TableCopy::Backup => {
            write_copy(disk, &primary, &entries)?;
            write_copy(disk, &backup, &entries)?;
        }
    }
    let grown = grows.then_some(NewSize {
        number: var.number,
        offset: var.offset,
        old_size: var.size,
        size,
    });
    Ok(Settled { grown, disk_guid })
}

/// Writes the entries first and makes them durable. Then it writes the header that makes them
/// count.
fn write_copy(disk: &impl Disk, header: &Header, entries: &[u8]) -> Result<(), TableError> {
    disk.write_at(entries, header.entries_lba * SECTOR).map_err(writing)?;
    disk.sync().map_err(writing)?;
    disk.write_at(&header.encode(), header.my_lba * SECTOR).map_err(writing)?;
    disk.sync().map_err(writing)
}
