//! The target for the partition table, which daruma-init reads and changes.
//!
//! `sparse` makes the disk, and `lib` lists the target with its limits. daruma-init lets `var`
//! grow, and gives a factory disk new GUIDs.

use image_layout::{Disk, PartitionTable, Settled, TableCopy, settle_table};

use crate::is_one_line;
use crate::sparse::{SECTOR, Sparse};

/// The input is 1 byte and a [`Sparse`] disk. Bit 0 of the byte makes the CRCs of the primary table
/// right, and bit 1 those of the backup.
pub(crate) fn gpt(input: &[u8]) {
    let Some((fix, input)) = input.split_first() else { return };
    let Some(disk) = Sparse::decode(input, u64::from(u32::MAX), 10_000) else { return };
    let last = (disk.size().unwrap() / SECTOR as u64).saturating_sub(1);
    for (bit, header) in [(1, 1), (2, last)] {
        if fix & bit != 0 {
            seal(&disk, header);
        }
    }
    let before = match PartitionTable::read(&disk) {
        Ok(table) => table,
        Err(error) => return is_one_line(&error.to_string()),
    };
    assert!(before.partitions.len() <= 128);
    is_inside(&before, &disk);
    let settle = || settle_table(&disk, Some(&mut || Ok([*fix; 16])));
    let settled = settle();
    let writes = disk.writes.borrow().clone();
    for partition in &before.partitions {
        // Nothing is written to a partition, nor to the place that var has grown to.
        let end = match settled.as_ref().map(|settled| settled.grown) {
            Ok(Some(new)) if new.offset == partition.offset => new.offset + new.size,
            _ => partition.offset + partition.size,
        };
        let hit = writes.iter().find(|(at, len)| *at < end && at + *len as u64 > partition.offset);
        assert_eq!(hit, None, "{} was written to", partition.label);
    }
    match settled {
        Ok(settled) => {
            let after = PartitionTable::read(&disk).unwrap();
            is_inside(&after, &disk);
            assert_eq!(settled.disk_guid.is_some(), before.is_factory(), "GUIDs that are nobody's");
            let mut expected = before.partitions.clone();
            for (partition, now) in expected.iter_mut().zip(&after.partitions) {
                if settled.disk_guid.is_some() {
                    partition.guid = now.guid;
                }
                if let Some(new) = settled.grown.filter(|new| new.number == partition.number) {
                    assert!(new.size > new.old_size);
                    partition.size = new.size;
                }
            }
            assert_eq!(after.partitions, expected, "something else has moved");
            if settled != Settled::default() {
                assert_eq!(after.copy, TableCopy::Primary);
                assert_eq!(settle().unwrap(), Settled::default(), "once is enough");
            }
        }
        Err(error) => {
            assert!(writes.is_empty(), "refused after writing: {error}");
            is_one_line(&error.to_string());
        }
    }
}

fn is_inside(table: &PartitionTable, disk: &Sparse) {
    let mut places: Vec<(u64, u64)> = table.partitions.iter().map(|p| (p.offset, p.size)).collect();
    places.sort_unstable();
    let mut free = 2 * SECTOR as u64;
    for (offset, size) in places {
        assert!(offset >= free && size > 0, "partitions overlap");
        free = offset.checked_add(size).unwrap();
    }
    assert!(free <= disk.size().unwrap());
}

/// Computes both CRCs of the table whose header is in sector `header`.
pub(crate) fn seal(disk: &Sparse, header: u64) {
    let mut sector = [0; SECTOR];
    let mut entries = vec![0; 32 * SECTOR];
    if disk.read_at(&mut sector, header * SECTOR as u64).is_err() {
        return;
    }
    let place = u64::from_le_bytes(sector[72..80].try_into().unwrap());
    if place.checked_mul(SECTOR as u64).is_some_and(|at| disk.read_at(&mut entries, at).is_ok()) {
        sector[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    }
    let len = u32::from_le_bytes(sector[12..16].try_into().unwrap()) as usize;
    sector[16..20].fill(0);
    let crc = crc32fast::hash(sector.get(..len).unwrap_or_default());
    sector[16..20].copy_from_slice(&crc.to_le_bytes());
    disk.sectors.borrow_mut().insert(header, sector);
}
