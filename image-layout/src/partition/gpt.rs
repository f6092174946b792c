//! The GUID partition table as bytes: header and entries (UEFI specification 2.10, chapter 5.3).
//!
//! `table` and `settle` know what the entries should be. This file uses no crate, for two reasons.
//! The initramfs rewrites the same few hundred bytes, and size counts there. And `settle` needs
//! control over where the entries lie. The tests compare with the crate `gpt`, an independent
//! reader.

use uuid::Uuid;

/// Bytes of a logical block. Disks with 4096-byte logical blocks (4Kn) would need another image.
pub(crate) const SECTOR: u64 = 512;
/// Sectors of the 128 entries of 128 bytes. Every table here has them.
pub(crate) const ENTRY_SECTORS: u64 = 32;
pub(crate) const ENTRIES_BYTES: usize = (ENTRY_SECTORS * SECTOR) as usize;
pub(crate) const ENTRY_BYTES: usize = 128;
/// Where the primary entries may lie. There are two places, so that a header can be switched from
/// one to the other.
pub(crate) const PRIMARY_ENTRIES: [u64; 2] = [2, 2 + ENTRY_SECTORS];
/// First sector after both places.
pub(crate) const PRIMARY_END: u64 = 2 + 2 * ENTRY_SECTORS;
/// Sectors of the backup at the end of the disk: entries, then the header in the very last one.
pub(crate) const BACKUP_SECTORS: u64 = ENTRY_SECTORS + 1;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_BYTES: u32 = 92;

/// The fields of a header; all positions are in sectors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) my_lba: u64,
    pub(crate) alternate_lba: u64,
    pub(crate) first_usable: u64,
    pub(crate) last_usable: u64,
    pub(crate) disk_guid: Uuid,
    pub(crate) entries_lba: u64,
    pub(crate) entries_crc: u32,
}

impl Header {
    /// Returns the header of the backup that belongs to this primary header. Its entries lie right
    /// before it.
    pub(crate) fn backup(&self) -> Self {
        Self {
            my_lba: self.alternate_lba,
            alternate_lba: self.my_lba,
            entries_lba: self.alternate_lba - ENTRY_SECTORS,
            ..self.clone()
        }
    }

    /// Returns the sector that holds this header, with its CRC.
    pub(crate) fn encode(&self) -> [u8; SECTOR as usize] {
        let mut sector = [0; SECTOR as usize];
        sector[0..8].copy_from_slice(SIGNATURE);
        sector[8..12].copy_from_slice(&REVISION.to_le_bytes());
        sector[12..16].copy_from_slice(&HEADER_BYTES.to_le_bytes());
        sector[24..32].copy_from_slice(&self.my_lba.to_le_bytes());
        sector[32..40].copy_from_slice(&self.alternate_lba.to_le_bytes());
        sector[40..48].copy_from_slice(&self.first_usable.to_le_bytes());
        sector[48..56].copy_from_slice(&self.last_usable.to_le_bytes());
        sector[56..72].copy_from_slice(&self.disk_guid.to_bytes_le());
        sector[72..80].copy_from_slice(&self.entries_lba.to_le_bytes());
        sector[80..84].copy_from_slice(&128_u32.to_le_bytes());
        sector[84..88].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
        sector[88..92].copy_from_slice(&self.entries_crc.to_le_bytes());
        let crc = crc32fast::hash(&sector[..HEADER_BYTES as usize]);
        sector[16..20].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    /// Reads the header that should lie in sector `lba`. The error says what is wrong with the
    /// header.
    pub(crate) fn decode(sector: &[u8; SECTOR as usize], lba: u64) -> Result<Self, &'static str> {
        if &sector[0..8] != SIGNATURE {
            return Err("no GPT signature");
        }
        let length = u32_at(sector, 12) as usize;
        if !(HEADER_BYTES as usize..=sector.len()).contains(&length) {
            return Err("GPT header of an impossible length");
        }
        let mut summed = *sector;
        summed[16..20].fill(0);
        if crc32fast::hash(&summed[..length]) != u32_at(sector, 16) {
            return Err("GPT header does not match its CRC");
        }
        if u64_at(sector, 24) != lba {
            return Err("GPT header says that it lies elsewhere");
        }
        if u32_at(sector, 80) != 128 || u32_at(sector, 84) as usize != ENTRY_BYTES {
            return Err("GPT without the usual 128 entries of 128 bytes");
        }
        Ok(Self {
            my_lba: lba,
            alternate_lba: u64_at(sector, 32),
            first_usable: u64_at(sector, 40),
            last_usable: u64_at(sector, 48),
            disk_guid: guid_at(sector, 56),
            entries_lba: u64_at(sector, 72),
            entries_crc: u32_at(sector, 88),
        })
    }
}

/// One used entry; positions are in sectors and `last_lba` is inclusive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) type_guid: Uuid,
    pub(crate) guid: Uuid,
    pub(crate) first_lba: u64,
    pub(crate) last_lba: u64,
    pub(crate) attributes: u64,
    pub(crate) label: String,
}

impl Entry {
    /// Returns the 128 bytes of this entry. A label longer than the 36 UTF-16 units of the format
    /// is cut.
    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0..16].copy_from_slice(&self.type_guid.to_bytes_le());
        bytes[16..32].copy_from_slice(&self.guid.to_bytes_le());
        bytes[32..40].copy_from_slice(&self.first_lba.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.last_lba.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.attributes.to_le_bytes());
        for (place, unit) in bytes[56..].chunks_exact_mut(2).zip(self.label.encode_utf16()) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    }

    /// Reads an entry. Returns `None` when its type is all zero, that is, unused.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let type_guid = guid_at(bytes, 0);
        if type_guid.is_nil() {
            return None;
        }
        let units = bytes[56..ENTRY_BYTES]
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let label: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
        Some(Self {
            type_guid,
            guid: guid_at(bytes, 16),
            first_lba: u64_at(bytes, 32),
            last_lba: u64_at(bytes, 40),
            attributes: u64_at(bytes, 48),
            label: String::from_utf16_lossy(&label),
        })
    }
}

/// Returns the partition record and signature of a protective MBR, that is bytes 446 to 511 of
/// sector 0.
///
/// The size is 0xFFFFFFFF whatever the disk's size is. The specification allows that and every
/// reader accepts it. Sector 0 holds the boot code, so it never has to be written again when the
/// disk grows.
pub(crate) fn protective_mbr() -> [u8; 66] {
    let mut record = [0; 66];
    record[1..4].copy_from_slice(&[0x00, 0x02, 0x00]); // CHS of sector 1
    record[4] = 0xee;
    record[5..8].copy_from_slice(&[0xff, 0xff, 0xff]);
    record[8..12].copy_from_slice(&1_u32.to_le_bytes());
    record[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    record[64..66].copy_from_slice(&[0x55, 0xaa]);
    record
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn guid_at(bytes: &[u8], at: usize) -> Uuid {
    let mut guid = [0; 16];
    guid.copy_from_slice(&bytes[at..at + 16]);
    Uuid::from_bytes_le(guid)
}
