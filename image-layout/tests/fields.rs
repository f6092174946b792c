//! The tamper table of the partition table: every field of header and entry.
//!
//! Each field has a wrong, a huge, an overlapping, a negative-like and a missing value, in both
//! copies. The CRCs are right, as a liar would leave them.
// clippy.toml allows `unwrap` in tests, but clippy does not see that the tests' helpers are tests
// too.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use image_layout::{Disk, PartitionTable, TableError, settle_table};

const SECTOR: usize = 512;
const SECTORS: u64 = 40_960; // 20 MiB
const ENTRIES: usize = 32 * SECTOR;

struct Memory {
    bytes: RefCell<Vec<u8>>,
    writes: RefCell<Vec<Range<u64>>>,
}

impl Disk for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.borrow();
        let from = bytes.get(offset as usize..).and_then(|from| from.get(..buf.len()));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.writes.borrow_mut().push(offset..offset + buf.len() as u64);
        self.bytes.borrow_mut()[offset as usize..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns three partitions, the last of which may grow by 10 MiB.
fn entries() -> Vec<u8> {
    let mut entries = vec![0; ENTRIES];
    for (index, (label, first, last)) in
        [("esp", 2048u64, 4095u64), ("root-a", 4096, 8191), ("var", 8192, 20_479)]
            .into_iter()
            .enumerate()
    {
        let entry = &mut entries[index * 128..][..128];
        entry[..16].fill(index as u8 + 1);
        entry[16..32].fill(index as u8 + 0x11);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (place, unit) in entry[56..].chunks_exact_mut(2).zip(label.encode_utf16()) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }
    entries
}

fn header(lba: u64, entries_lba: u64) -> [u8; SECTOR] {
    let mut header = [0; SECTOR];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    for (at, value) in
        [(24, lba), (32, SECTORS - lba), (40, 34), (48, SECTORS - 34), (72, entries_lba)]
    {
        header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    header[56..72].fill(0xdd);
    header[80..84].copy_from_slice(&128u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header
}

/// Returns a disk with these headers and entries in both copies, and with their CRCs.
fn disk(change: &dyn Fn(&mut [u8; SECTOR]), entries: &[u8], sealed: bool) -> Memory {
    let mut bytes = vec![0; SECTORS as usize * SECTOR];
    for (lba, place) in [(1, 2), (SECTORS - 1, SECTORS - 33)] {
        let mut header = header(lba, place);
        header[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
        let seal = |header: &mut [u8; SECTOR]| {
            header[16..20].fill(0);
            let crc = crc32fast::hash(&header[..92]);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
        };
        seal(&mut header);
        change(&mut header);
        if sealed {
            seal(&mut header);
        }
        bytes[lba as usize * SECTOR..][..SECTOR].copy_from_slice(&header);
        bytes[place as usize * SECTOR..][..ENTRIES].copy_from_slice(entries);
    }
    Memory { bytes: RefCell::new(bytes), writes: RefCell::default() }
}

fn cases(truth: &[u8], overlap: &[u64]) -> Vec<(String, Vec<u8>)> {
    let len = truth.len();
    let bits = len as u32 * 8;
    let number = truth.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let all = u64::MAX >> (64 - bits);
    let fixed = [
        ("wrong", number.wrapping_add(1)),
        ("huge", all >> 1),
        ("all ones", all),
        ("negative-like", number | 1 << (bits - 1)),
        ("missing", 0),
    ];
    let fixed = fixed.map(|(case, value)| (case.to_owned(), value));
    let overlaps = overlap.iter().map(|to| (format!("overlapping {to}"), *to));
    let to_bytes =
        |(case, value): (String, u64)| (case, (value & all).to_le_bytes()[..len].to_vec());
    fixed.into_iter().chain(overlaps).map(to_bytes).filter(|(_, value)| value != truth).collect()
}

/// What must happen with a field's values.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// `PartitionTable::read` refuses all of them.
    Refused,
    /// `PartitionTable::read` refuses the value, or believes it if it describes a possible disk.
    /// The partitions then lie inside the disk and apart from each other, and growing writes to
    /// none of them.
    Possible,
    /// The value is believed and has no meaning here: names, types, GUIDs, attributes, and fields
    /// for other tools.
    Harmless,
}

#[test]
fn every_field_of_header_and_entry_is_refused_or_does_no_harm() {
    use Fate::{Harmless, Possible, Refused};
    let header_rows: [(&str, Range<usize>, &[u64], Fate); 14] = [
        ("signature", 0..8, &[1], Refused),
        ("revision", 8..12, &[2], Harmless),
        ("length", 12..16, &[91, 513], Refused),
        ("CRC", 16..20, &[1], Refused),
        ("own place", 24..32, &[2], Refused),
        ("other's place", 32..40, &[2048], Harmless),
        ("first usable", 40..48, &[4096], Harmless),
        ("last usable", 48..56, &[4096], Harmless),
        ("GUID, first half", 56..64, &[1], Harmless),
        ("GUID, second half", 64..72, &[1], Harmless),
        ("entries' place", 72..80, &[0, 1, 4096, SECTORS - 31], Refused),
        ("number of entries", 80..84, &[129, 4], Refused),
        ("bytes of an entry", 84..88, &[64, 256], Refused),
        ("entries' CRC", 88..92, &[1], Refused),
    ];
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let truth = header(1, 2);
    for (field, at, overlap, fate) in header_rows {
        for (case, value) in cases(&truth[at.clone()], overlap) {
            let sealed = field != "CRC";
            let disk =
                disk(&|header| header[at.clone()].copy_from_slice(&value), &entries(), sealed);
            *counts
                .entry(format!(
                    "header, {:?}",
                    judge(&format!("header: {field} {case}"), &disk, fate)
                ))
                .or_default() += 1;
        }
    }
    let entry_rows: [(&str, Range<usize>, &[u64], Fate); 7] = [
        ("type", 0..8, &[0], Harmless),
        ("GUID", 16..24, &[0], Harmless),
        ("first sector", 32..40, &[0, 1, 33, 2048, 4096, 8191], Possible),
        ("last sector", 40..48, &[0, 1, 4095, 8192, SECTORS - 33, SECTORS - 1, SECTORS], Possible),
        ("attributes", 48..56, &[1], Harmless),
        ("label", 56..64, &[0x76], Harmless),
        ("end of the label", 120..128, &[0x76], Harmless),
    ];
    for number in 0..3 {
        for (field, at, overlap, fate) in &entry_rows {
            let at = number * 128 + at.start..number * 128 + at.end;
            for (case, value) in cases(&entries()[at.clone()], overlap) {
                let mut entries = entries();
                entries[at.clone()].copy_from_slice(&value);
                let disk = disk(&|_| (), &entries, true);
                let what = format!("entry {number}: {field} {case}");
                *counts.entry(format!("entry, {:?}", judge(&what, &disk, *fate))).or_default() += 1;
            }
        }
    }
    for (fate, count) in &counts {
        println!("{fate}: {count} values");
    }
    println!("{} values in all", counts.values().sum::<usize>());
}

fn settle(disk: &Memory) -> Result<image_layout::Settled, TableError> {
    let mut random = || Ok([7; 16]);
    settle_table(disk, Some(&mut random))
}

fn judge(what: &str, disk: &Memory, expected: Fate) -> Fate {
    let before = disk.bytes.borrow().clone();
    let table = match PartitionTable::read(disk) {
        Ok(table) => table,
        Err(error) => {
            assert!(
                matches!(error, TableError::Missing { .. } | TableError::Invalid(_)),
                "{what}: {error}"
            );
            assert_ne!(expected, Fate::Harmless, "{what}: {error}");
            assert!(settle(disk).is_err() && *disk.bytes.borrow() == before, "{what}: written to");
            return Fate::Refused;
        }
    };
    assert_ne!(expected, Fate::Refused, "{what} was believed");
    let mut places: Vec<Range<u64>> =
        table.partitions.iter().map(|p| p.offset..p.offset + p.size).collect();
    places.sort_by_key(|place| place.start);
    assert!(
        places.windows(2).all(|pair| pair[0].end <= pair[1].start),
        "{what}: partitions overlap"
    );
    assert!(
        places.iter().all(|place| place.end <= SECTORS * SECTOR as u64),
        "{what}: beyond the end of the disk"
    );
    match settle(disk) {
        Err(error) => {
            assert!(matches!(error, TableError::Invalid(_)), "{what}: {error}");
            assert!(*disk.bytes.borrow() == before, "{what}: refused after writing");
        }
        Ok(_) => {
            for write in disk.writes.borrow().iter() {
                let hit =
                    places.iter().find(|place| place.start < write.end && write.start < place.end);
                assert_eq!(hit, None, "{what}: a partition was written to");
            }
            PartitionTable::read(disk)
                .unwrap_or_else(|error| panic!("{what}: after growing: {error}"));
        }
    }
    expected
}
