//! The partition table of a disk, read back from its bytes.
//!
//! `settle` changes it. The disk may be hostile: each number is checked before it is used.

use std::io;

use uuid::Uuid;

use crate::Disk;
use crate::partition::gpt::{
    BACKUP_SECTORS, ENTRIES_BYTES, ENTRY_BYTES, ENTRY_SECTORS, Entry, Header, PRIMARY_ENTRIES,
    SECTOR,
};

/// One partition; positions and sizes are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// GPT number, from 1: `gpt2` in GRUB, `p2` or `2` at the end of a Linux device name
    pub number: u32,
    /// Partition label, one of [`crate::partition::label::ALL`] on a Daruma device
    pub label: String,
    /// What the partition is for
    pub type_guid: Uuid,
    /// The partition's own GUID (PARTUUID)
    pub guid: Uuid,
    /// First byte, from the start of the disk
    pub offset: u64,
    /// Length in bytes
    pub size: u64,
    /// Attribute flags (UEFI 2.10, 5.3.3, and the Discoverable Partitions Specification)
    pub attributes: u64,
}

/// Which of the two copies of the table was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableCopy {
    /// The copy at the start of the disk. GRUB reads it, and so does Linux unless it is told `gpt`
    Primary,
    /// The copy at the end of the disk; the primary one is damaged
    Backup,
}

/// The GPT of a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionTable {
    /// GUID of the disk
    pub disk_guid: Uuid,
    /// Partitions by rising number
    pub partitions: Vec<Partition>,
    /// The copy that was read
    pub copy: TableCopy,
    pub(crate) header: Header,
    pub(crate) entries: Vec<u8>,
}

/// A partition table cannot be read or cannot be grown.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The disk could not be read or written.
    #[error("cannot {doing} the partition table: {source}")]
    Io {
        /// `read`, `write` or `make GUIDs for`
        doing: &'static str,
        /// The cause
        source: io::Error,
    },
    /// Neither copy is whole.
    #[error(
        "no usable partition table: at the start of the disk {primary}, at its end {backup}; is \
            this a Daruma disk?"
    )]
    Missing {
        /// What is wrong with the primary copy
        primary: &'static str,
        /// What is wrong with the backup
        backup: &'static str,
    },
    /// The table does not fit what it describes.
    #[error("the partition table cannot be right: {0}; restore the disk from its image")]
    Invalid(&'static str),
}

impl PartitionTable {
    /// Reads the primary table. If it is damaged, reads the backup in the last sectors of the disk.
    ///
    /// # Errors
    /// [`TableError::Io`]. [`TableError::Missing`] when neither copy has its signature and both
    /// CRCs right. [`TableError::Invalid`] when a partition does not lie within the disk, or two of
    /// them overlap.
    pub fn read(disk: &impl Disk) -> Result<Self, TableError> {
        let sectors = disk.size().map_err(reading)? / SECTOR;
        if sectors < PRIMARY_ENTRIES[0] + ENTRY_SECTORS + BACKUP_SECTORS {
            return Err(TableError::Missing { primary: "no room for one", backup: "neither" });
        }
        let primary = match read_copy(disk, 1, sectors)? {
            Ok((header, entries)) => {
                return Self::decode(header, entries, TableCopy::Primary, sectors);
            }
            Err(reason) => reason,
        };
        match read_copy(disk, sectors - 1, sectors)? {
            Ok((header, entries)) => Self::decode(header, entries, TableCopy::Backup, sectors),
            Err(backup) => Err(TableError::Missing { primary, backup }),
        }
    }

    /// Returns true if the GUIDs are those of the factory image. All devices made from the image
    /// share them, because they are made from its seed (UUID version 5). A device's own GUIDs, and
    /// those of other tools, are random (version 4).
    #[must_use]
    pub fn is_factory(&self) -> bool {
        self.disk_guid.get_version_num() == 5
    }

    /// Returns the partition with this label.
    #[must_use]
    pub fn find(&self, label: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.label == label)
    }

    fn decode(
        header: Header,
        entries: Vec<u8>,
        copy: TableCopy,
        sectors: u64,
    ) -> Result<Self, TableError> {
        let mut partitions = Vec::new();
        for (index, bytes) in entries.chunks_exact(ENTRY_BYTES).enumerate() {
            let Some(entry) = Entry::decode(bytes) else { continue };
            if entry.first_lba < PRIMARY_ENTRIES[0] || entry.last_lba < entry.first_lba {
                return Err(TableError::Invalid(
                    "a partition ends before it begins, or begins in the table",
                ));
            }
            if entry.last_lba >= sectors {
                return Err(TableError::Invalid("a partition reaches beyond the end of the disk"));
            }
            partitions.push(Partition {
                number: index as u32 + 1,
                label: entry.label,
                type_guid: entry.type_guid,
                guid: entry.guid,
                offset: entry.first_lba * SECTOR,
                size: (entry.last_lba - entry.first_lba + 1) * SECTOR,
                attributes: entry.attributes,
            });
        }
        let mut by_offset: Vec<&Partition> = partitions.iter().collect();
        by_offset.sort_by_key(|partition| partition.offset);
        if by_offset.windows(2).any(|pair| pair[0].offset + pair[0].size > pair[1].offset) {
            return Err(TableError::Invalid("two partitions overlap"));
        }
        Ok(Self { disk_guid: header.disk_guid, partitions, copy, header, entries })
    }
}

pub(crate) fn reading(source: io::Error) -> TableError {
    TableError::Io { doing: "read", source }
}

pub(crate) fn writing(source: io::Error) -> TableError {
    TableError::Io { doing: "write", source }
}

/// Returns the copy whose header lies in sector `lba`, or what is wrong with it.
fn read_copy(
    disk: &impl Disk,
    lba: u64,
    sectors: u64,
) -> Result<Result<(Header, Vec<u8>), &'static str>, TableError> {
    let mut sector = [0; SECTOR as usize];
    disk.read_at(&mut sector, lba * SECTOR).map_err(reading)?;
    let header = match Header::decode(&sector, lba) {
        Ok(header) => header,
        Err(reason) => return Ok(Err(reason)),
    };
    if header.entries_lba < 2 || header.entries_lba > sectors - ENTRY_SECTORS {
        return Ok(Err("GPT header points outside the disk"));
    }
    let mut entries = vec![0; ENTRIES_BYTES];
    disk.read_at(&mut entries, header.entries_lba * SECTOR).map_err(reading)?;
    if crc32fast::hash(&entries) != header.entries_crc {
        return Ok(Err("GPT entries do not match their CRC"));
    }
    Ok(Ok((header, entries)))
}
