//! The partition table as bytes: a gpt (UEFI 2.10, chapter 5.3) or an msdos table.
//!
//! `kind` has the types, and the recipe has fitted the sectors. sfdisk knows no other sectors than
//! 512 bytes for a plain file, so the bytes are written here. The tests let sfdisk read them.

use uuid::Uuid;

use crate::bundling::disk::identity::Identity;
use crate::bundling::disk::kind;
use crate::recipe::{Disk, ENTRIES_BYTES, Partition};

const ENTRY_BYTES: usize = 128;
/// Heads and sectors of the geometry that everybody writes.
const HEADS: u64 = 255;
const TRACK: u64 = 63;

/// Pieces of a disk: bytes, and where they lie.
pub(super) type Pieces = Vec<(u64, Vec<u8>)>;

/// Returns the pieces of the table. A gpt has room for `entries` partitions.
pub(super) fn table(disk: &Disk, identity: &Identity, entries: usize) -> Pieces {
    if disk.gpt { gpt(disk, identity, entries) } else { msdos(disk, identity) }
}

fn gpt(disk: &Disk, identity: &Identity, count: usize) -> Pieces {
    let sectors = disk.size / disk.sector;
    let reserved = ENTRIES_BYTES.div_ceil(disk.sector);
    let mut entries = vec![0; count * ENTRY_BYTES];
    for (place, partition) in entries.chunks_exact_mut(ENTRY_BYTES).zip(&disk.partitions) {
        place[..16].copy_from_slice(&kind::gpt_type(partition).to_bytes_le());
        place[16..32].copy_from_slice(&identity.partition(partition).to_bytes_le());
        place[32..40].copy_from_slice(&partition.sectors.first.to_le_bytes());
        place[40..48].copy_from_slice(&partition.sectors.last.to_le_bytes());
        place[48..56].copy_from_slice(&kind::gpt_attributes(partition).to_le_bytes());
        for (place, unit) in place[56..].chunks_exact_mut(2).zip(partition.label.encode_utf16()) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&entries);
    let backup = sectors - 1 - reserved;
    let usable = (disk.entries + reserved, backup - 1);
    let header = |own: u64, other: u64, at: u64| {
        let id = identity.disk(disk);
        header(disk.sector, (own, other), usable, id, (at, count, crc))
    };
    let mut mbr = vec![0; 512];
    mbr[446..462].copy_from_slice(&record(0, 0xee, 1, (sectors - 1).min(u64::from(u32::MAX))));
    // The firmware expects these numbers of a protective record.
    mbr[447..450].copy_from_slice(&[0, 2, 0]);
    mbr[451..454].copy_from_slice(&[0xff, 0xff, 0xff]);
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    vec![
        (0, mbr),
        (disk.sector, header(1, sectors - 1, disk.entries)),
        (disk.entries * disk.sector, entries.clone()),
        (backup * disk.sector, entries),
        ((sectors - 1) * disk.sector, header(sectors - 1, 1, backup)),
    ]
}

fn header(
    sector: u64,
    (own, other): (u64, u64),
    (first, last): (u64, u64),
    id: Uuid,
    (at, count, crc): (u64, usize, u32),
) -> Vec<u8> {
    let mut bytes = vec![0; sector as usize];
    bytes[..8].copy_from_slice(b"EFI PART");
    bytes[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&92_u32.to_le_bytes());
    for (start, value) in [(24, own), (32, other), (40, first), (48, last), (72, at)] {
        bytes[start..start + 8].copy_from_slice(&value.to_le_bytes());
    }
    bytes[56..72].copy_from_slice(&id.to_bytes_le());
    bytes[80..84].copy_from_slice(&(count as u32).to_le_bytes());
    bytes[84..88].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
    bytes[88..92].copy_from_slice(&crc.to_le_bytes());
    let own_crc = crc32fast::hash(&bytes[..92]);
    bytes[16..20].copy_from_slice(&own_crc.to_le_bytes());
    bytes
}

/// An entry of an msdos table. `base` is what `first` counts from.
fn record(base: u64, kind: u8, first: u64, count: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[1..4].copy_from_slice(&geometry(base + first));
    bytes[4] = kind;
    bytes[5..8].copy_from_slice(&geometry(base + first + count - 1));
    bytes[8..12].copy_from_slice(&(first as u32).to_le_bytes());
    bytes[12..].copy_from_slice(&(count as u32).to_le_bytes());
    bytes
}

/// Head, sector and cylinder of a sector. A large one has the largest cylinder.
fn geometry(sector: u64) -> [u8; 3] {
    let cylinder = sector / (HEADS * TRACK);
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    let head = sector / TRACK % HEADS;
    [head as u8, (sector % TRACK + 1) as u8 | (cylinder >> 2) as u8 & 0xc0, cylinder as u8]
}

fn msdos(disk: &Disk, identity: &Identity) -> Pieces {
    let of = |partition: &Partition, base: u64| {
        let place = partition.sectors;
        let count = place.last - place.first + 1;
        let mut bytes = record(base, kind::dos_type(partition), place.first - base, count);
        bytes[0] = if kind::is_active(partition) { 0x80 } else { 0 };
        bytes
    };
    let (primary, logical) = match disk.partitions.len() {
        0..=4 => (&disk.partitions[..], &[][..]),
        _ => disk.partitions.split_at(3),
    };
    let mut mbr = vec![0; 512];
    mbr[440..444].copy_from_slice(&identity.disk_number(disk).to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    for (place, partition) in mbr[446..510].chunks_exact_mut(16).zip(primary) {
        place.copy_from_slice(&of(partition, 0));
    }
    let mut pieces = vec![(0, mbr)];
    let records: Vec<u64> = logical.iter().filter_map(|p| p.sectors.record).collect();
    let (Some(begin), Some(end)) = (records.first(), logical.last()) else { return pieces };
    let extended = record(0, 0x0f, *begin, end.sectors.last - begin + 1);
    pieces[0].1[494..510].copy_from_slice(&extended);
    for (index, (partition, at)) in logical.iter().zip(&records).enumerate() {
        let mut bytes = vec![0; 512];
        bytes[446..462].copy_from_slice(&of(partition, *at));
        if let (Some(next), Some(after)) = (records.get(index + 1), logical.get(index + 1)) {
            let link = record(*begin, 0x05, next - begin, after.sectors.last - next + 1);
            bytes[462..478].copy_from_slice(&link);
        }
        bytes[510..].copy_from_slice(&[0x55, 0xaa]);
        pieces.push((at * disk.sector, bytes));
    }
    pieces
}
