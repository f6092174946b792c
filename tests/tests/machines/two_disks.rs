//! Machines with more than one disk that has the partitions of Daruma.
//!
//! `tests::vm` and `tests::usb` run the machines. The disk that the firmware starts is the disk of
//! the device.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use image_layout::{FileDisk, PartitionTable};
use tests::fixture::Fixture;
use tests::stick;
use tests::usb::Port;
use tests::vm::{Firmware, Machine, Size, Vm, data_disk};

use crate::says::committed;

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 240;
const TINY: &str = "tests/recipes/tiny.yaml";
/// The last version whose GRUB script named no disk. All disks of this version have the GUIDs of
/// their image.
const BEFORE: &str = "ab6d461";

/// A machine with two disks. The firmware starts the second disk.
struct Two {
    fixture: Fixture,
    machine: Machine,
    /// The disk that the kernel finds first. Nobody may write to it.
    first: PathBuf,
    first_before: Vec<u8>,
    dir: tempfile::TempDir,
}

impl Two {
    /// Makes the machine from two raw disks: the one that comes first, and the one that is started.
    fn new(fixture: Fixture, firmware: Firmware, first: &Path, started: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (first_copy, disk) = (dir.path().join("first.raw"), dir.path().join("disk.raw"));
        stick::copy_disk(first, &first_copy)?;
        stick::copy_disk(started, &disk)?;
        let log = dir.path().join("serial.log");
        let machine = Machine { disk, format: "raw", data: None, firmware, size: Size::Tiny, log };
        let first_before = fs::read(&first_copy)?;
        Ok(Self { fixture, machine, first: first_copy, first_before, dir })
    }

    /// Returns the factory disk of a version.
    fn factory(fixture: &Fixture, version: &str) -> Result<PathBuf> {
        fixture.disk(&fixture.bundle(TINY, version)?)
    }

    /// Adds a third disk, which holds the bundle of this version.
    fn with_bundle(mut self, version: &str) -> Result<Self> {
        let data = self.dir.path().join("data.ext4");
        data_disk(&data, &[("new.daruma", &self.fixture.bundle(TINY, version)?)])?;
        self.machine.data = Some(data);
        Ok(self)
    }

    /// Returns QEMU's options of the two disks. The first part is the value of `-drive` for the
    /// first disk.
    fn disks(&self) -> (String, Vec<String>) {
        let (first, started) = (self.first.display(), self.machine.disk.display());
        let drive = format!("file={first},if=none,id=first,format=raw,cache=writeback");
        let options = [
            "-device",
            "virtio-blk-pci,drive=first,addr=0x10",
            "-drive",
            &format!("file={started},if=none,id=started,format=raw,cache=writeback"),
            "-device",
            "virtio-blk-pci,drive=started,addr=0x11,bootindex=0",
        ];
        (drive, options.map(str::to_owned).to_vec())
    }

    fn start(&self) -> Result<Vm> {
        let (drive, options) = self.disks();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Vm::start_with(&self.machine, &drive, &options)
    }

    fn first_is_untouched(&self) -> Result<()> {
        ensure!(
            fs::read(&self.first)? == self.first_before,
            "the disk that was not started has been written to"
        );
        Ok(())
    }
}

/// Installs the bundle of the third disk, whatever that disk's name is, and restarts.
fn install_and_reboot(vm: &mut Vm) -> Result<()> {
    let mount =
        "for disk in /dev/vd?; do mount -t ext4 -o ro $disk /mnt 2>/dev/null && break; done";
    vm.run(&format!("{mount}; daruma install /mnt/new.daruma"), 300)?.success()?;
    vm.type_line("reboot -f")
}

fn table(disk: &Path) -> Result<PartitionTable> {
    Ok(PartitionTable::read(&FileDisk::open_read_only(disk)?)?)
}

/// The two disks hold two versions, and the firmware starts the second disk.
///
/// Checks that the second disk becomes healthy and is updated, and that the first disk stays as it
/// is.
fn the_second_disk_boots_and_is_updated(firmware: Firmware) -> Result<()> {
    let fixture = Fixture::open()?;
    let (first, started) = (Two::factory(&fixture, "1.0.0")?, Two::factory(&fixture, "2.0.0")?);
    let two = Two::new(fixture, firmware, &first, &started)?.with_bundle("3.0.0")?;
    let factory = table(&two.machine.disk)?;
    let mut vm = two.start()?;
    let now = committed(&mut vm, "2.0.0")?;
    let uefi = vm.run("test -d /sys/firmware/efi", 60)?.status == 0;
    ensure!(uefi == (firmware == Firmware::Uefi), "started by another firmware than {firmware:?}");
    ensure!(now["disk"]["chosen_by"] == "guid", "{now}");
    ensure!(now["disk"]["others"].as_array().is_some_and(|others| others.len() == 1), "{now}");
    let own = table(&two.machine.disk)?;
    ensure!(factory.is_factory() && !own.is_factory(), "the disk has no GUID of its own");
    install_and_reboot(&mut vm)?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    let now = committed(&mut vm, "3.0.0")?;
    ensure!(now["running"] == "B", "{now}");
    let text = vm.run("daruma status", 60)?.success()?;
    ensure!(
        text.contains("because GRUB named its EFI system partition; with the same partitions: "),
        "{text}"
    );
    vm.cut_power()?;
    ensure!(table(&two.machine.disk)? == own, "the GUIDs have changed again");
    two.first_is_untouched()
}

#[test]
fn the_started_disk_boots_to_healthy_and_is_updated_under_bios() -> Result<()> {
    the_second_disk_boots_and_is_updated(Firmware::Bios)
}

#[test]
fn the_started_disk_boots_to_healthy_and_is_updated_under_uefi() -> Result<()> {
    the_second_disk_boots_and_is_updated(Firmware::Uefi)
}

#[test]
fn of_two_equal_factory_disks_the_started_one_boots_and_gets_a_guid_of_its_own() -> Result<()> {
    let fixture = Fixture::open()?;
    let factory = Two::factory(&fixture, "1.0.0")?;
    let two = Two::new(fixture, Firmware::Bios, &factory, &factory)?;
    let mut vm = two.start()?;
    vm.expect("slot A, try 1 of 9", BOOT)?;
    committed(&mut vm, "1.0.0")?;
    vm.type_line("sync; reboot -f")?;
    let now = committed(&mut vm, "1.0.0")?;
    ensure!(now["disk"]["chosen_by"] == "guid", "{now}");
    vm.cut_power()?;
    ensure!(!table(&two.machine.disk)?.is_factory(), "the disk has no GUID of its own");
    two.first_is_untouched()
}

#[test]
fn recovery_beside_a_healthy_clone_writes_to_the_started_disk_only() -> Result<()> {
    let fixture = Fixture::open()?;
    let factory = Two::factory(&fixture, "1.0.0")?;
    // The clone is whole and was never booted. Both slots of the started disk are noise.
    let two = Two::new(fixture, Firmware::Bios, &factory, &factory)?;
    for (seed, label) in ["boot-a", "root-a", "boot-b", "root-b"].iter().enumerate() {
        stick::overwrite(&two.machine.disk, label, seed as u64 + 1)?;
    }
    let image = two.dir.path().join("stick.img");
    stick::fat(&image, &[("update.daruma", &two.fixture.bundle(TINY, "2.0.0")?)], true)?;
    let (drive, options) = two.disks();
    let (mut vm, _port) = Port::start_with(&two.machine, &drive, &options, &[&image])?;
    vm.expect("RECOVERY", BOOT)?;
    vm.expect("DONE: version 2.0.0 is installed", BOOT)?;
    vm.expect("try 1 of 3 (on trial)", BOOT)?;
    committed(&mut vm, "2.0.0")?;
    vm.cut_power()?;
    two.first_is_untouched()
}

#[test]
fn a_stick_with_a_whole_image_changes_nothing() -> Result<()> {
    let fixture = Fixture::open()?;
    let factory = Two::factory(&fixture, "1.0.0")?;
    let two = Two::new(fixture, Firmware::Bios, &factory, &factory)?;
    // The first disk is the stick. It holds, bit for bit, the same image.
    let (mut vm, _port) = Port::start(&two.machine, &[&two.first])?;
    let now = committed(&mut vm, "1.0.0")?;
    ensure!(now["disk"]["name"] == "vda", "{now}");
    vm.type_line("sync; reboot -f")?;
    let now = committed(&mut vm, "1.0.0")?;
    ensure!(now["disk"]["name"] == "vda", "{now}");
    vm.cut_power()?;
    two.first_is_untouched()
}

#[test]
fn a_disk_of_the_version_before_is_updated_beside_a_spare_and_found_by_its_environment()
-> Result<()> {
    let fixture = Fixture::open()?;
    // An old program cannot tell which of two disks is the right one. So the test adds the spare
    // after the update.
    let started = fixture.disk_of_commit(BEFORE, TINY, "1.0.0")?;
    let two = Two::new(fixture, Firmware::Bios, &started, &started)?.with_bundle("2.0.0")?;
    let factory = table(&two.machine.disk)?;
    let mut vm = Vm::start(&two.machine)?;
    committed(&mut vm, "1.0.0")?;
    install_and_reboot(&mut vm)?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    let now = committed(&mut vm, "2.0.0")?;
    ensure!(now["disk"]["chosen_by"] == "environment", "{now}");
    vm.run("sync", 60)?.success()?;
    vm.cut_power()?;
    // GRUB does not tell the disk by a GUID here, but the firmware may. So the GUID must not
    // change.
    ensure!(table(&two.machine.disk)?.disk_guid == factory.disk_guid, "the GUID has changed");

    let mut vm = two.start()?;
    let now = committed(&mut vm, "2.0.0")?;
    ensure!(now["disk"]["chosen_by"] == "environment", "{now}");
    let again = two.with_bundle("3.0.0")?;
    vm.cut_power()?;
    let mut vm = again.start()?;
    committed(&mut vm, "2.0.0")?;
    install_and_reboot(&mut vm)?;
    vm.expect("slot A, try 1 of 3", BOOT)?;
    committed(&mut vm, "3.0.0")?;
    vm.cut_power()?;
    again.first_is_untouched()
}
