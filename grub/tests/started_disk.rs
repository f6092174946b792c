//! The disk that GRUB started from is found among others. The present GRUB script and the scripts
//! of devices in the field both lead to it.

#![allow(clippy::unwrap_used)] // A test may; clippy does not know its helper functions for one.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use grub_env::{
    BOOTED, BootState, By, Candidate, Certainty, DiskRecord, Env, EnvStore, Evidence,
    GRUBENV_BAK_PATH, GRUBENV_PATH, PLACE, RootHash, Told, choose_disk,
};
use image_layout::{Disk, FactoryImage, Layout, PartitionTable, Slot, label, settle_table};
use sha2::{Digest, Sha256};

const MIB: u64 = 1 << 20;
const SALT: &str = "5a17";
const DATA_BLOCKS: usize = 3;

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// Returns a root image of three blocks with its dm-verity tree, and its root hash.
fn root_image(fill: u8) -> (Vec<u8>, RootHash) {
    let salt = [0x5a, 0x17];
    let mut image = vec![fill; DATA_BLOCKS * 4096];
    let mut tree: Vec<u8> = image.chunks(4096).flat_map(|block| sha256(&[&salt, block])).collect();
    tree.resize(4096, 0);
    let hash = sha256(&[&salt, &tree]).iter().map(|byte| format!("{byte:02x}")).collect();
    image.extend(tree);
    (image, RootHash { hash, salt: SALT.to_owned(), data_blocks: DATA_BLOCKS as u64 })
}

/// The bytes of a disk, or of a partition on it.
#[derive(Clone)]
struct Window {
    bytes: Rc<RefCell<Vec<u8>>>,
    range: Range<usize>,
}

impl Disk for Window {
    fn size(&self) -> io::Result<u64> {
        Ok(self.range.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = self.range.start + offset as usize;
        let bytes = self.bytes.borrow();
        let found =
            bytes.get(start..start + buf.len()).filter(|_| start + buf.len() <= self.range.end);
        buf.copy_from_slice(found.ok_or_else(|| io::Error::other("beyond the end"))?);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let start = self.range.start + offset as usize;
        self.bytes.borrow_mut()[start..start + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk in a machine.
struct Machine {
    whole: Window,
    place: &'static str,
    removable: bool,
}

/// The kind of GRUB script that the started disk has.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Script {
    Present,
    /// The script that says neither `daruma.disk=` nor `daruma.booted=`.
    Old,
}

impl Clone for Machine {
    fn clone(&self) -> Self {
        let bytes = Rc::new(RefCell::new(self.whole.bytes.borrow().clone()));
        Self { whole: Window { bytes, ..self.whole.clone() }, ..*self }
    }
}

impl Machine {
    /// Returns a factory-new disk. `seed` has version and product, and the root image is made of
    /// `fill`.
    fn new(place: &'static str, seed: &str, fill: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (image, root, raw) = (
            folder.path().join("image"),
            folder.path().join("root"),
            folder.path().join("disk.raw"),
        );
        fs::write(&image, "an image").unwrap();
        fs::write(&root, root_image(fill).0).unwrap();
        let mut env = Env::new();
        BootState::factory().apply_to(&mut env);
        let block = env.encode();
        FactoryImage {
            layout: Layout { esp: 36 * MIB, boot: MIB, root: MIB, recovery: MIB, var: 16 * MIB },
            boot: &image,
            root: &root,
            recovery: &image,
            esp_folders: &[],
            esp_files: &[(GRUBENV_PATH, &block), (GRUBENV_BAK_PATH, &block)],
            grub: None,
            early_grub_cfg: None,
            grub_modules_bios: &["biosdisk", "part_gpt", "fat"],
            grub_modules_efi: &["part_gpt", "fat"],
            seed,
            epoch: 0,
        }
        .write_raw(&raw)
        .unwrap();
        let bytes = fs::read(&raw).unwrap();
        let whole = Window { range: 0..bytes.len(), bytes: Rc::new(RefCell::new(bytes)) };
        Self { whole, place, removable: false }
    }

    fn at(self, place: &'static str) -> Self {
        Self { place, ..self }
    }

    fn on_usb(self) -> Self {
        Self { removable: true, ..self }
    }

    fn table(&self) -> PartitionTable {
        PartitionTable::read(&self.whole).unwrap()
    }

    fn partition(&self, label: &str) -> Window {
        let table = self.table();
        let partition = table.find(label).unwrap();
        let range = partition.offset as usize..(partition.offset + partition.size) as usize;
        Window { range, ..self.whole.clone() }
    }

    fn fill(&self, label: &str, byte: u8) {
        let partition = self.partition(label);
        self.whole.bytes.borrow_mut()[partition.range].fill(byte);
    }

    /// Changes the environment as `change` says.
    fn change_env(&self, change: impl FnOnce(&mut Env)) {
        let store = EnvStore::open(self.partition(label::ESP)).unwrap();
        let mut env = store.load().unwrap().env;
        change(&mut env);
        store.store(&env).unwrap();
    }

    /// Does what GRUB does when it starts from this disk at this time. `tests/tests/grub_emu.rs`
    /// shows that the real GRUB does the same.
    fn grub(&self, script: Script, time: &str, fill: u8) -> Told {
        let table = self.table();
        let is_present = script == Script::Present;
        let mut told = Told {
            esp_guid: is_present.then(|| table.find(label::ESP).unwrap().guid),
            booted: is_present.then(|| time.to_owned()),
            root: Some(root_image(fill).1),
            ..Told::default()
        };
        self.change_env(|env| {
            let selection = BootState::from_env(env).select();
            told.slot = selection.slot;
            if let Some(slot) = selection.slot {
                told.attempt = u32::from(selection.after.slot(slot).tries);
                told.trial = selection.after.trial == Some(slot);
            }
            selection.after.apply_to(env);
            if is_present {
                *env = env.saved_by_grub(BOOTED, time).unwrap();
            }
        });
        told
    }

    /// Does what daruma-init and the agent do in a boot that becomes healthy.
    fn healthy(&self, told: &Told, seed: u8) {
        if told.esp_guid.is_some() {
            let mut next = seed;
            let mut random = || {
                next += 1;
                Ok([next; 16])
            };
            settle_table(&self.whole, Some(&mut random)).unwrap();
        }
        let place = self.place;
        self.change_env(|env| {
            let mut state = BootState::from_env(env);
            state.mark_good(told.slot.unwrap());
            state.apply_to(env);
            env.set(PLACE, place).unwrap();
        });
    }

    /// Returns a device that has been running for months.
    fn in_use(self, script: Script, seed: u8, fill: u8) -> Self {
        for month in 1..=3 {
            let told = self.grub(script, &format!("2026-{month:02}-01T00:00:00"), fill);
            self.healthy(&told, seed);
        }
        self
    }

    fn candidate(&self, told: &Told) -> Candidate {
        let label = told.slot.unwrap_or(Slot::A).root_label();
        let evidence = Evidence::gather(
            told,
            &self.whole,
            Some(self.partition(label::ESP)),
            Some(self.partition(label)),
        );
        Candidate {
            place: self.place.to_owned(),
            is_whole: true,
            is_removable: self.removable,
            evidence,
        }
    }
}

/// Boots `started` beside `other`, whichever the kernel names first. Returns what decided. Neither
/// disk may be taken for the other.
#[track_caller]
fn decided_by(started: &Machine, other: &Machine, script: Script, fill: u8) -> By {
    let told = started.grub(script, "2026-11-28T12:59:03", fill);
    found(started, other, &told)
}

#[track_caller]
fn found(started: &Machine, other: &Machine, told: &Told) -> By {
    let (right, wrong) = (started.candidate(told), other.candidate(told));
    let first = choose_disk(told, &[right.clone(), wrong.clone()], Certainty::Possible).unwrap();
    let second = choose_disk(told, &[wrong, right], Certainty::Possible).unwrap();
    assert_eq!(
        (first.0, second.0),
        (0, 1),
        "the disk at {} was not taken: {first:?}, {second:?}",
        started.place
    );
    assert_eq!(first.1, second.1);
    first.1
}

/// Returns the certainty of this disk when no other disk has come so far.
fn certainty(disk: &Machine, told: &Told) -> Option<Certainty> {
    disk.candidate(told).certainty(told)
}

#[test]
fn one_disk_is_taken_at_once_by_what_the_present_script_says() {
    for disk in
        [Machine::new("pci/5", "router/1", 1), Machine::new("usb/1", "router/1", 1).on_usb()]
    {
        let told = disk.grub(Script::Present, "2026-11-28T12:59:03", 1);
        let alone = choose_disk(&told, &[disk.candidate(&told)], Certainty::Sure);
        assert_eq!(alone, Some((0, By::Guid)));
    }
}

#[test]
fn one_disk_with_an_old_script_is_waited_for_until_it_was_healthy_once_under_this_agent() {
    let disk = Machine::new("pci/5", "router/1", 1);
    let told = disk.grub(Script::Old, "", 1);
    assert_eq!(certainty(&disk, &told), Some(Certainty::Likely));
    disk.healthy(&told, 0);
    let told = disk.grub(Script::Old, "", 1);
    assert_eq!(certainty(&disk, &told), Some(Certainty::Sure));
    // Elsewhere the disk is not at home: something better may come.
    assert_eq!(certainty(&disk.clone().at("pci/6"), &told), Some(Certainty::Likely));
}

#[test]
fn two_disks_with_different_versions() {
    let (old, new) = (Machine::new("pci/5", "router/1", 1), Machine::new("pci/6", "router/2", 2));
    for script in [Script::Present, Script::Old] {
        let by = if script == Script::Present { By::Guid } else { By::Environment };
        // First both disks were never booted, and then both are in use.
        assert_eq!(decided_by(&new.clone(), &old, script, 2), by);
        assert_eq!(decided_by(&old.clone(), &new, script, 1), by);
        let (old, new) = (old.clone().in_use(script, 0, 1), new.clone().in_use(script, 100, 2));
        assert_eq!(decided_by(&new.clone(), &old, script, 2), by);
        assert_eq!(decided_by(&old.clone(), &new, script, 1), by);
    }
}

#[test]
fn two_equal_disks_that_never_booted() {
    let disk = Machine::new("pci/6", "router/1", 1);
    for script in [Script::Present, Script::Old] {
        let by = decided_by(&disk.clone(), &disk.clone().at("pci/5"), script, 1);
        assert_eq!(by, By::Environment, "{script:?}");
        // One of the disks is used then, and the other lies beside it.
        let used = disk.clone().in_use(script, 0, 1);
        let by = decided_by(&used.clone(), &disk.clone().at("pci/5"), script, 1);
        assert_eq!(by, if script == Script::Present { By::Guid } else { By::Environment });
        let by = decided_by(&disk.clone().at("pci/5"), &used, script, 1);
        assert_eq!(by, if script == Script::Present { By::Guid } else { By::Environment });
    }
}

#[test]
fn a_clone_made_bit_for_bit_after_months_inside_or_on_a_stick() {
    for script in [Script::Present, Script::Old] {
        let device = Machine::new("pci/6", "router/1", 1).in_use(script, 0, 1);
        for clone in [device.clone().at("pci/5"), device.clone().at("usb/1").on_usb()] {
            assert_eq!(decided_by(&device.clone(), &clone, script, 1), By::Environment);
            assert_eq!(decided_by(&clone.clone(), &device, script, 1), By::Environment);
        }
    }
}

#[test]
fn a_clone_of_a_device_in_trouble_has_the_count_but_not_the_time() {
    // The power was cut in a boot, and the disk was cloned. Both disks are in one machine from now
    // on.
    let device = Machine::new("pci/6", "router/1", 1).in_use(Script::Present, 0, 1);
    device.grub(Script::Present, "2026-10-01T08:00:00", 1);
    let clone = device.clone().at("pci/5");
    // The device has one healthy boot, and then its next boot counts as the clone does.
    let told = device.grub(Script::Present, "2026-11-01T08:00:00", 1);
    device.healthy(&told, 0);
    assert_eq!(decided_by(&device.clone(), &clone, Script::Present, 1), By::Environment);
    // A clock that always stands at the same time is no help, and nothing else helps. The choice is
    // no proof, and a message says so.
    let told = device.grub(Script::Present, "2026-10-01T08:00:00", 1);
    let by = found(&device, &clone, &told);
    assert_eq!((by, by.is_proof()), (By::Place, false));
}

#[test]
fn under_an_old_script_equal_counts_leave_the_fixed_disk_where_it_was() {
    let device = Machine::new("pci/6", "router/1", 1).in_use(Script::Old, 0, 1);
    device.grub(Script::Old, "", 1);
    let clone = device.clone();
    let told = device.grub(Script::Old, "", 1);
    device.healthy(&told, 0);
    let told = device.grub(Script::Old, "", 1);
    let by = found(&device, &clone.clone().at("usb/1").on_usb(), &told);
    assert_eq!((by, by.is_proof()), (By::BeingFixed, false));
    let by = found(&device, &clone.clone().at("pci/5"), &told);
    assert_eq!((by, by.is_proof()), (By::Place, false));
    // Both disks have moved. The first place is taken whatever the kernel calls the disks, and a
    // message says so.
    let (here, there) = (device.at("pci/3"), clone.at("pci/4"));
    let by = found(&here, &there, &told);
    assert_eq!((by, by.is_proof()), (By::Nothing, false));
}

#[test]
fn a_disk_of_another_product() {
    for script in [Script::Present, Script::Old] {
        let router = Machine::new("pci/6", "router/1", 1).in_use(script, 0, 1);
        let server = Machine::new("pci/5", "server/1", 7).in_use(script, 100, 7);
        let by = if script == Script::Present { By::Guid } else { By::Environment };
        assert_eq!(decided_by(&router.clone(), &server, script, 1), by);
        // The disk was left in the middle of a boot. Under an old script the count fits, and the
        // root hash does not.
        server.grub(script, "2026-10-01T08:00:00", 7);
        let by = if script == Script::Present { By::Guid } else { By::RootHash };
        assert_eq!(decided_by(&router.clone(), &server, script, 1), by);
    }
}

#[test]
fn damage_on_the_other_disk_or_on_ones_own_changes_nothing() {
    for script in [Script::Present, Script::Old] {
        let device = Machine::new("pci/6", "router/1", 1).in_use(script, 0, 1);
        for label in label::ALL {
            let damaged = device.clone().at("pci/5");
            damaged.fill(label, 0xa5);
            decided_by(&device.clone(), &damaged, script, 1);
        }
        // GRUB has counted, and then the root turns out to be damaged. The disk is still the right
        // one.
        let own = device.clone();
        own.fill("root-a", 0xa5);
        assert_eq!(decided_by(&own, &device.clone().at("pci/5"), script, 1), By::Environment);
    }
}

#[test]
fn an_environment_that_cannot_count_leaves_the_guid_and_the_root_hash() {
    let device = Machine::new("pci/6", "router/1", 1).in_use(Script::Present, 0, 1);
    let spare = Machine::new("pci/5", "router/1", 1).in_use(Script::Present, 100, 1);
    let mut told = device.grub(Script::Present, "2026-11-28T12:59:03", 1);
    device.fill(label::ESP, 0);
    told.booted = None;
    assert_eq!(certainty(&device, &told), Some(Certainty::Likely), "a clone may come");
    assert_eq!(found(&device, &spare, &told), By::Guid);
    // The script is old, and a spare of another version lies beside the disk.
    told.esp_guid = None;
    let spare = Machine::new("pci/5", "router/2", 2).in_use(Script::Present, 100, 2);
    assert_eq!(found(&device, &spare, &told), By::RootHash);
}

#[test]
fn a_disk_that_comes_late_is_waited_for() {
    let late = Machine::new("usb/1", "router/1", 1).in_use(Script::Present, 0, 1).on_usb();
    let spare = Machine::new("pci/5", "router/1", 1).in_use(Script::Present, 100, 1);
    let told = late.grub(Script::Present, "2026-11-28T12:59:03", 1);
    // GRUB has named a disk, so no other disk is ever taken.
    assert_eq!(choose_disk(&told, &[spare.candidate(&told)], Certainty::Possible), None);
    assert_eq!(found(&late, &spare, &told), By::Guid);
    // A clone of the disk, in which this boot is not counted, is not taken before the patience
    // ends.
    let clone = Machine::new("pci/5", "router/1", 1).in_use(Script::Present, 0, 1);
    assert_eq!(certainty(&clone, &told), Some(Certainty::Possible));
    // Under an old script a spare that was healthy last is the last resort.
    let late = Machine::new("usb/1", "router/1", 1).in_use(Script::Old, 0, 1).on_usb();
    let told = late.grub(Script::Old, "", 1);
    assert_eq!(certainty(&spare, &told), Some(Certainty::Possible));
    // A removable disk is never sure. A stick could be made to look like the right disk, and the
    // disk inside comes within seconds.
    assert_eq!(certainty(&late, &told), Some(Certainty::Likely));
    assert_eq!(found(&late, &spare, &told), By::Environment);
}

#[test]
fn recovery_takes_the_disk_whose_slots_are_used_up() {
    for script in [Script::Present, Script::Old] {
        let device = Machine::new("pci/6", "router/1", 1).in_use(script, 0, 1);
        let spare = device.clone().at("pci/5");
        for boot in 0..9 {
            let told = device.grub(script, &format!("2026-11-28T12:{boot:02}:00"), 1);
            assert_eq!(told.slot, Some(Slot::A));
        }
        let told = device.grub(script, "2026-11-28T13:00:00", 1);
        assert_eq!(told.slot, None);
        assert_eq!(found(&device, &spare, &told), By::Environment);
        assert_eq!(certainty(&device, &told), Some(Certainty::Sure));
    }
}

#[test]
fn the_record_for_the_agent_is_read_as_it_was_written_and_nothing_else_is_one() {
    for by in [
        By::BeingAlone,
        By::Guid,
        By::Environment,
        By::RootHash,
        By::Partitions,
        By::BeingFixed,
        By::Nothing,
    ] {
        let record =
            DiskRecord { disk: "vda".into(), sequence: "7".into(), place: "pci/5".into(), by };
        assert_eq!(DiskRecord::parse(&record.to_text()), Some(record));
    }
    for text in [
        "",
        "disk=vda\n",
        "disk=../x\nsequence=1\nplace=\nby=guid\n",
        "disk=vda\nsequence=1\nplace=\nby=luck\n",
    ] {
        assert_eq!(DiskRecord::parse(text), None, "{text:?}");
    }
}
