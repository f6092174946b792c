//! `var` fills a bigger disk and the GUIDs become the disk's own, even if the power is cut
//! meanwhile.
// clippy.toml allows `unwrap` in tests, but clippy does not see that the tests' helpers are tests
// too.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io;
use std::path::Path;

use image_layout::{
    Disk, FactoryImage, FileDisk, Layout, NewSize, PartitionTable, Settled, TableCopy, TableError,
    settle_table,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

const MIB: u64 = 1 << 20;
const SECTOR: usize = 512;
const LAYOUT: Layout = Layout { esp: 36 * MIB, boot: MIB, root: MIB, recovery: MIB, var: 16 * MIB };

fn grow_last_partition(disk: &impl Disk) -> Result<Option<NewSize>, TableError> {
    let settled = settle_table(disk, None)?;
    assert_eq!(settled.disk_guid, None, "without random bytes there are no new GUIDs");
    Ok(settled.grown)
}

/// Returns random bytes for a test: never the same twice.
fn counter(start: u8) -> impl FnMut() -> io::Result<[u8; 16]> {
    let mut next = start;
    move || {
        next += 1;
        Ok([next; 16])
    }
}

/// Returns every GUID of a table, the disk's first.
fn guids(table: &PartitionTable) -> Vec<uuid::Uuid> {
    [table.disk_guid]
        .into_iter()
        .chain(table.partitions.iter().map(|partition| partition.guid))
        .collect()
}

/// Makes a factory image in its folder.
fn factory_image() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::write(&image, "an image").unwrap();
    let raw = folder.path().join("disk.raw");
    FactoryImage {
        layout: LAYOUT,
        boot: &image,
        root: &image,
        recovery: &image,
        esp_folders: &[],
        esp_files: &[],
        grub: None,
        early_grub_cfg: None,
        grub_modules_bios: &["biosdisk", "part_gpt", "fat"],
        grub_modules_efi: &["part_gpt", "fat"],
        seed: "grow",
        epoch: 0,
    }
    .write_raw(&raw)
    .unwrap();
    (folder, raw)
}

fn enlarge(raw: &Path, by: u64) {
    let file = File::options().write(true).open(raw).unwrap();
    file.set_len(file.metadata().unwrap().len() + by).unwrap();
}

fn read(raw: &Path) -> PartitionTable {
    PartitionTable::read(&FileDisk::open_read_only(raw).unwrap()).unwrap()
}

#[test]
fn var_grows_to_the_end_of_a_bigger_disk_and_nothing_else_moves() {
    let (_folder, raw) = factory_image();
    let before = read(&raw);
    let mbr = fs::read(&raw).unwrap()[..SECTOR].to_vec();
    // The size is not a multiple of 1 MiB, like that of real disks.
    enlarge(&raw, 64 * MIB + 12_345 * 512);
    let disk = FileDisk::open(&raw).unwrap();
    let var = before.find("var").unwrap();
    // 12,345 sectors are 6 MiB and 57 sectors. The 57 sectors are room enough for the backup table,
    // and the old MiB becomes free.
    let size = LAYOUT.var + 71 * MIB;
    let expected = NewSize { number: 8, offset: var.offset, old_size: LAYOUT.var, size };
    assert_eq!(grow_last_partition(&disk).unwrap(), Some(expected));
    assert_eq!(grow_last_partition(&disk).unwrap(), None, "once is enough");

    let after = read(&raw);
    assert_eq!(after.copy, TableCopy::Primary);
    assert_eq!(after.find("var").unwrap().size, size);
    assert_eq!(
        (after.disk_guid, &after.partitions[..7]),
        (before.disk_guid, &before.partitions[..7])
    );
    assert_eq!(fs::read(&raw).unwrap()[..SECTOR], mbr, "the boot code's sector is never written");

    let theirs = gpt::GptConfig::new().writable(false).open(&raw).unwrap();
    assert_eq!(theirs.primary_header().unwrap().backup_lba, disk.size().unwrap() / 512 - 1);
    assert_eq!(theirs.backup_header().unwrap().part_start, disk.size().unwrap() / 512 - 33);
    assert_eq!(theirs.partitions()[&8].last_lba, (var.offset + size) / 512 - 1);
    assert_eq!(theirs.partitions()[&8].name, "var");
}

#[test]
fn a_disk_of_the_images_size_is_left_alone() {
    let (_folder, raw) = factory_image();
    let before = fs::read(&raw).unwrap();
    assert_eq!(grow_last_partition(&FileDisk::open_read_only(&raw).unwrap()).unwrap(), None);
    assert!(fs::read(&raw).unwrap() == before);
}

#[test]
fn a_disk_that_does_not_grow_gets_guids_of_its_own_once_and_nothing_else_changes() {
    let (_folder, raw) = factory_image();
    let before = read(&raw);
    assert!(before.is_factory());
    let disk = FileDisk::open(&raw).unwrap();
    let settled = settle_table(&disk, Some(&mut counter(0))).unwrap();
    let after = read(&raw);
    assert_eq!(settled, Settled { grown: None, disk_guid: Some(after.disk_guid) });
    assert!(!after.is_factory());
    let (old, new) = (guids(&before), guids(&after));
    let mut all = [old, new.clone()].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 18, "nine new GUIDs, each another one");
    assert!(new.iter().all(|guid| guid.get_version_num() == 4), "{new:?}");
    let mut like_before = after.partitions.clone();
    for (new, old) in like_before.iter_mut().zip(&before.partitions) {
        new.guid = old.guid;
    }
    assert_eq!(like_before, before.partitions);
    assert_eq!(
        settle_table(&disk, Some(&mut counter(100))).unwrap(),
        Settled::default(),
        "once is enough"
    );
    assert_eq!(read(&raw), after);

    let theirs = gpt::GptConfig::new().writable(false).open(&raw).unwrap();
    assert_eq!(
        (*theirs.guid(), theirs.partitions()[&2].part_guid),
        (after.disk_guid, after.partitions[1].guid)
    );
    let backup = theirs.backup_header().unwrap();
    assert_eq!(backup.disk_guid, after.disk_guid, "both copies say the same");
}

#[test]
fn a_disk_that_grows_gets_its_guids_in_the_same_change() {
    let (_folder, raw) = factory_image();
    enlarge(&raw, 64 * MIB);
    let before = read(&raw);
    let disk = FileDisk::open(&raw).unwrap();
    let settled = settle_table(&disk, Some(&mut counter(0))).unwrap();
    assert!(settled.grown.is_some() && settled.disk_guid.is_some());
    // A disk that grows later keeps its GUIDs.
    enlarge(&raw, 64 * MIB);
    let settled = settle_table(&FileDisk::open(&raw).unwrap(), Some(&mut counter(100))).unwrap();
    assert!(settled.grown.is_some() && settled.disk_guid.is_none());
    assert!(guids(&read(&raw)).iter().zip(guids(&before)).all(|(new, old)| *new != old));
}

#[test]
fn without_random_bytes_nothing_is_written() {
    let (_folder, raw) = factory_image();
    let before = fs::read(&raw).unwrap();
    let mut given = 0;
    let mut runs_dry = || {
        given += 1;
        if given < 5 { Ok([given; 16]) } else { Err(io::Error::other("no more")) }
    };
    let error = settle_table(&FileDisk::open(&raw).unwrap(), Some(&mut runs_dry)).unwrap_err();
    assert_eq!(error.to_string(), "cannot make GUIDs for the partition table: no more");
    assert!(fs::read(&raw).unwrap() == before);
}

#[test]
fn var_grows_again_when_the_disk_does() {
    let (_folder, raw) = factory_image();
    for step in 1..=3 {
        enlarge(&raw, 10 * MIB);
        let new = grow_last_partition(&FileDisk::open(&raw).unwrap()).unwrap().unwrap();
        assert_eq!(
            (new.old_size, new.size),
            (LAYOUT.var + (step - 1) * 10 * MIB, LAYOUT.var + step * 10 * MIB)
        );
    }
}

#[test]
fn a_disk_smaller_than_its_image_or_without_a_table_is_refused() {
    let (_folder, raw) = factory_image();
    let file = File::options().write(true).open(&raw).unwrap();
    file.set_len(LAYOUT.disk_size() - 2 * MIB).unwrap();
    let error = grow_last_partition(&FileDisk::open(&raw).unwrap()).unwrap_err();
    assert!(error.to_string().contains("beyond the end of the disk"), "{error}");
    for size in [0, 511, 512, 20_000, MIB] {
        file.set_len(0).unwrap();
        file.set_len(size).unwrap();
        let error = grow_last_partition(&FileDisk::open(&raw).unwrap()).unwrap_err();
        assert!(matches!(error, TableError::Missing { .. }), "{size}: {error}");
    }
}

#[test]
fn a_damaged_primary_table_is_made_anew_from_the_backup() {
    let (_folder, raw) = factory_image();
    let before = read(&raw);
    for (place, length) in [(SECTOR, 1), (2 * SECTOR + 40, 8), (SECTOR, 33 * SECTOR)] {
        let disk = FileDisk::open(&raw).unwrap();
        disk.write_at(&vec![0xff; length], place as u64).unwrap();
        let damaged = PartitionTable::read(&disk);
        // The second round finds the entries in their other place, and the damage in the unused
        // place.
        if damaged.as_ref().is_ok_and(|table| table.copy == TableCopy::Primary) {
            continue;
        }
        assert_eq!(damaged.unwrap().copy, TableCopy::Backup);
        assert_eq!(grow_last_partition(&disk).unwrap(), None);
        let after = read(&raw);
        assert_eq!((after.copy, &after.partitions), (TableCopy::Primary, &before.partitions));
    }
}

/// A disk whose power is cut. Of the sectors that were written since the last sync, only some
/// arrive.
struct CutDisk {
    durable: RefCell<Vec<u8>>,
    /// Sectors written since the last sync, oldest first
    pending: RefCell<Vec<(usize, Vec<u8>)>>,
    /// Writes and syncs still to come before the cut
    left: Cell<usize>,
}

impl CutDisk {
    fn new(bytes: Vec<u8>, operations: usize) -> Self {
        Self {
            durable: RefCell::new(bytes),
            pending: RefCell::default(),
            left: Cell::new(operations),
        }
    }

    fn spend(&self) -> io::Result<()> {
        let left =
            self.left.get().checked_sub(1).ok_or_else(|| io::Error::other("the power is cut"))?;
        self.left.set(left);
        Ok(())
    }

    /// Returns the bytes after the cut. `arrives` decides for each pending sector.
    fn after(&self, mut arrives: impl FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.durable.borrow().clone();
        for (sector, content) in self.pending.borrow().iter() {
            if arrives() {
                bytes[sector * SECTOR..][..SECTOR].copy_from_slice(content);
            }
        }
        bytes
    }
}

impl Disk for CutDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.durable.borrow().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.pending.borrow().is_empty() {
            buf.copy_from_slice(&self.durable.borrow()[offset as usize..][..buf.len()]);
            return Ok(());
        }
        let live = self.after(|| true);
        buf.copy_from_slice(&live[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        assert_eq!((offset % 512, buf.len() % SECTOR), (0, 0), "whole sectors only");
        // The sectors of a write that is cut short are on their way too.
        let sectors = buf
            .chunks(SECTOR)
            .enumerate()
            .map(|(nth, chunk)| (offset as usize / SECTOR + nth, chunk.to_vec()));
        self.pending.borrow_mut().extend(sectors);
        self.spend()
    }

    fn sync(&self) -> io::Result<()> {
        self.spend()?;
        let bytes = self.after(|| true);
        self.pending.borrow_mut().clear();
        *self.durable.borrow_mut() = bytes;
        Ok(())
    }
}

/// Returns a disk with an old table of only a `var` partition. It is like the factory image without
/// its middle: `var` lies at 1 MiB, and the disk has grown by 2 MiB. It is short enough to be cut
/// thousands of times.
fn short_disk() -> Vec<u8> {
    use gpt::partition_types;
    // A factory image's GUID is of version 5.
    let guid = uuid::Uuid::new_v5(&uuid::Uuid::nil(), b"short");
    let mut bytes = vec![0; 4 * MIB as usize];
    let mut cursor = io::Cursor::new(&mut bytes[..2 * MIB as usize]);
    {
        let config = gpt::GptConfig::new().writable(true);
        let mut disk = config.create_from_device(Box::new(&mut cursor), Some(guid)).unwrap();
        disk.add_partition("var", 512 * 1024, partition_types::LINUX_FS, 0, Some(2048)).unwrap();
        disk.write_inplace().unwrap();
    }
    bytes
}

#[test]
fn a_power_cut_at_any_write_leaves_a_table_that_linux_reads_and_the_next_call_finishes() {
    // The first disk grows, the second does not, and the third grows without getting GUIDs.
    let mut exact = short_disk();
    exact.truncate(2 * MIB as usize);
    cut_everywhere(&short_disk(), true);
    cut_everywhere(&exact, true);
    cut_everywhere(&short_disk(), false);
}

fn cut_everywhere(start: &[u8], new_guids: bool) {
    let settle = |disk: &CutDisk, seed: u8| {
        let mut random = counter(seed);
        settle_table(disk, new_guids.then_some(&mut random))
    };
    let old = guids(&PartitionTable::read(&CutDisk::new(start.to_vec(), 0)).unwrap());
    let whole = CutDisk::new(start.to_vec(), usize::MAX);
    let goal = settle(&whole, 0).unwrap();
    let operations = usize::MAX - whole.left.get();
    assert_eq!(operations, 8, "four writes, each with its sync");
    let after = PartitionTable::read(&whole).unwrap();
    let (new, new_size) = (guids(&after), after.find("var").unwrap().size);
    let old_size = goal.grown.map_or(new_size, |grown| grown.old_size);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for cut in 0..operations {
        let disk = CutDisk::new(start.to_vec(), cut);
        assert!(matches!(settle(&disk, 0), Err(TableError::Io { .. })));
        let count = disk.pending.borrow().len();
        // The choices are all sectors on their way, none of them, and many mixtures.
        let mut choices = vec![vec![true; count], vec![false; count]];
        let strategy = proptest::collection::vec(any::<bool>(), count);
        choices.extend((0..30).map(|_| strategy.new_tree(&mut runner).unwrap().current()));
        for choice in choices {
            let mut arrives = choice.iter();
            let bytes = disk.after(|| *arrives.next().unwrap());
            let rest = CutDisk::new(bytes, usize::MAX);
            let table = PartitionTable::read(&rest).unwrap();
            assert_eq!(table.copy, TableCopy::Primary, "cut {cut}: Linux would see no partitions");
            let found = (guids(&table), table.find("var").unwrap().size);
            let is_old = found == (old.clone(), old_size);
            assert!(is_old || found == (new.clone(), new_size), "cut {cut}: {found:?}");
            // A disk that was cut has other random bytes at its next boot.
            let again = settle(&rest, 100).unwrap();
            assert_eq!(again == Settled::default(), !is_old, "cut {cut}");
            let table = PartitionTable::read(&rest).unwrap();
            assert_eq!(table.find("var").unwrap().size, new_size);
            assert_eq!(table.is_factory(), !new_guids);
            // If the primary header is gone, the backup has to say the same.
            rest.write_at(&[0; SECTOR], 512).unwrap();
            let backup = PartitionTable::read(&rest).unwrap();
            assert_eq!(
                (backup.copy, guids(&backup), backup.partitions),
                (TableCopy::Backup, guids(&table), table.partitions),
                "cut {cut}"
            );
        }
    }
}

#[test]
fn a_power_cut_while_the_primary_table_is_made_anew_never_loses_both_copies() {
    let mut start = short_disk();
    // The disk has grown once, so that the backup lies at the end. Then the primary header is
    // damaged.
    let grown = CutDisk::new(start, usize::MAX);
    grow_last_partition(&grown).unwrap().unwrap();
    start = grown.after(|| true);
    start[SECTOR] ^= 1;
    for cut in 0..8 {
        for arrives in [true, false] {
            let disk = CutDisk::new(start.clone(), cut);
            grow_last_partition(&disk).unwrap_err();
            let mut every_second = false;
            let rest = CutDisk::new(
                disk.after(|| {
                    every_second = !every_second;
                    arrives && every_second
                }),
                usize::MAX,
            );
            assert_eq!(grow_last_partition(&rest).unwrap(), None, "cut {cut}");
            assert_eq!(PartitionTable::read(&rest).unwrap().copy, TableCopy::Primary);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_table_with_any_byte_changed_is_read_as_it_was_or_refused(
        place in 512_usize..34 * 512,
        flip in 1_u8..,
    ) {
        let mut bytes = short_disk();
        bytes.truncate(2 * MIB as usize);
        let before = PartitionTable::read(&CutDisk::new(bytes.clone(), 0)).unwrap();
        bytes[place] ^= flip;
        let after = PartitionTable::read(&CutDisk::new(bytes, 0)).unwrap();
        prop_assert_eq!(after.partitions, before.partitions);
    }
}
