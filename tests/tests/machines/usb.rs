//! Recovery and updates from USB sticks, in real machines with real GRUB.
//!
//! `tests::stick` makes the sticks, and `tests::usb` plugs them in. Each test prints how long it
//! took.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use bundle::{BundleWriter, ImageInput, Salt, SecretKey, Sha256, Update, Verity};
use tests::fixture::Fixture;
use tests::stick;
use tests::usb::Port;
use tests::vm::{Firmware, Machine, Size, Vm, data_disk};

use crate::says::{committed, status};

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 240;
const TINY: &str = "tests/recipes/tiny.yaml";
/// All partitions that a boot can start from, except recovery.
const SLOTS: [&str; 4] = ["boot-a", "root-a", "boot-b", "root-b"];

/// A machine with version 1.0.0 in slot A, on a disk that a test can damage.
struct Field {
    fixture: Fixture,
    machine: Machine,
    dir: tempfile::TempDir,
    started: Instant,
}

impl Field {
    fn new() -> Result<Self> {
        Self::under(Firmware::Bios)
    }

    fn under(firmware: Firmware) -> Result<Self> {
        let fixture = Fixture::open()?;
        let factory = fixture.disk(&fixture.bundle(TINY, "1.0.0")?)?;
        let dir = tempfile::tempdir()?;
        let disk = dir.path().join("disk.raw");
        stick::copy_disk(&factory, &disk)?;
        let log = dir.path().join("serial.log");
        let machine = Machine { disk, format: "raw", data: None, firmware, size: Size::Tiny, log };
        Ok(Self { fixture, machine, dir, started: Instant::now() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn overwrite(&self, labels: &[&str]) -> Result<()> {
        labels.iter().enumerate().try_for_each(|(seed, label)| {
            stick::overwrite(&self.machine.disk, label, seed as u64 + 1)
        })
    }

    /// Makes a FAT stick with the bundle of this version, in a partition.
    fn stick(&self, name: &str, version: &str) -> Result<PathBuf> {
        let path = self.path(name);
        stick::fat(&path, &[("update.daruma", &self.fixture.bundle(TINY, version)?)], true)?;
        Ok(path)
    }

    /// Prints what the person at the console saw, and how long the test took.
    fn done(&self, what: &str) {
        let text = std::fs::read(&self.machine.log).unwrap_or_default();
        for line in
            String::from_utf8_lossy(&text).lines().filter(|line| line.contains("daruma-init: "))
        {
            println!("  {line}");
        }
        println!("{what}: {:.0} s", self.started.elapsed().as_secs_f64());
    }
}

/// Keeps a factory-new device from looking for credentials on sticks.
fn leave_sticks_alone(vm: &mut Vm) -> Result<()> {
    let never = "printf '[usb]\\nprovision = \"never\"\\n' >>/etc/daruma/daruma.toml";
    vm.run(&format!("{never} && killall daruma && sync"), 60)?.success()?;
    vm.type_line("daruma daemon >/dev/console 2>&1 &")?;
    vm.expect("is healthy", BOOT).map(drop)
}

fn expect_result(image: &Path, parts: &[&str]) -> Result<()> {
    let text = stick::result(image)?;
    for part in parts {
        ensure!(text.contains(part), "the result on the stick does not say {part:?}:\n{text}");
    }
    Ok(())
}

#[test]
fn a_stick_alone_brings_back_a_device_whose_slots_are_both_noise() -> Result<()> {
    let field = Field::new()?;
    field.overwrite(&SLOTS)?;
    let image = field.stick("fat.img", "2.0.0")?;
    let (mut vm, _port) = Port::start(&field.machine, &[&image])?;
    vm.expect("RECOVERY", BOOT)?;
    vm.expect("a stick is plugged in", BOOT)?;
    vm.expect("DONE: version 2.0.0 is installed", BOOT)?;
    vm.expect("try 1 of 3 (on trial)", BOOT)?;
    committed(&mut vm, "2.0.0")?;
    vm.cut_power()?;
    expect_result(
        &image,
        &["Device: tiny", "update.daruma (2.0.0): acceptable", "INSTALLED: version 2.0.0"],
    )?;
    field.done("from two slots of noise to a committed system");
    Ok(())
}

#[test]
fn pulling_the_stick_at_any_moment_only_delays_recovery() -> Result<()> {
    let field = Field::new()?;
    field.overwrite(&SLOTS)?;
    let image = field.stick("fat.img", "2.0.0")?;
    let (mut vm, mut port) = Port::start(&field.machine, &[])?;
    vm.expect("plug in a USB stick", BOOT)?;
    let done = "DONE: version 2.0.0 is installed";
    let mut pulls = 0;
    // The test pulls the stick before the kernel has seen its partition, and before recovery looks
    // at it. It also pulls it while recovery looks, checks and writes.
    for moment in
        ["", "a stick is plugged in", "version 2.0.0", "checking update.daruma", "to write ("]
    {
        let plugged = port.plug(&image)?;
        if !moment.is_empty() {
            vm.expect(moment, BOOT)?;
        }
        port.pull(plugged)?;
        pulls += 1;
        // The kernel keeps in memory what it has read. So at the last moment recovery may no longer
        // need the stick.
        if !moment.is_empty() && vm.expect_any(&["THE STICK WAS PULLED OUT", done], BOOT)?.0 == 1 {
            ensure!(moment == "to write (", "installed from a stick that was pulled at {moment:?}");
            break;
        }
        println!("pulled at {moment:?}: recovery waits again");
    }
    ensure!(pulls == 5, "{pulls} pulls");
    port.plug(&image)?;
    vm.expect("try 1 of 3 (on trial)", BOOT)?;
    committed(&mut vm, "2.0.0")?;
    field.done("with five pulls, to a committed system");
    Ok(())
}

/// Makes a bundle with small images that the bundler would not make. `key` signs it.
fn odd_bundle(
    field: &Field,
    name: &str,
    compatible: &str,
    version: &str,
    key: &str,
) -> Result<PathBuf> {
    let key = SecretKey::load(&field.fixture.key(key))?;
    let (boot, root) = (field.path("odd-boot"), field.path("odd-root"));
    std::fs::write(&boot, vec![7; 8192])?;
    std::fs::write(&root, vec![8; 4096 * 3])?;
    let path = field.path(name);
    BundleWriter {
        update: Update {
            compatible: compatible.parse()?,
            version: version.parse()?,
            build: "odd".parse()?,
            description: String::new(),
            min_version: version.parse()?,
        },
        images: vec![
            ImageInput { name: "boot".parse()?, path: &boot, verity: None },
            ImageInput {
                name: "root".parse()?,
                path: &root,
                verity: Some(Verity { hash: Sha256([3; 32]), salt: Salt([4; 32]), size: 8192 }),
            },
        ],
        meta: BTreeMap::new(),
        keys: &[key],
    }
    .write(&path)?;
    Ok(path)
}

#[test]
fn recovery_starts_from_a_slots_boot_image_by_a_key_and_finds_the_one_good_bundle() -> Result<()> {
    let field = Field::new()?;
    // The boot image of slot A is the only thing left that starts.
    field.overwrite(&["recovery", "root-a", "boot-b", "root-b"])?;
    let good = field.fixture.bundle(TINY, "2.0.0")?;
    let torn = field.path("torn");
    let bytes = std::fs::read(&good)?;
    std::fs::write(&torn, &bytes[..bytes.len() / 2])?;
    std::fs::write(field.path("junk"), vec![0x5a; 300_000])?;
    let image = field.path("ext4.img");
    let files = [
        ("a-junk.daruma", field.path("junk")),
        ("b-torn.daruma", torn),
        ("c-stranger.daruma", odd_bundle(&field, "c", "tiny", "9.0.0", "stranger.key.pem")?),
        ("d-other.daruma", odd_bundle(&field, "d", "router", "9.0.0", "release.key.pem")?),
        ("e-old.daruma", odd_bundle(&field, "e", "tiny", "0.0.0-alpha", "release.key.pem")?),
        ("z-good.daruma", good),
    ];
    let files: Vec<(&str, &Path)> =
        files.iter().map(|(name, path)| (*name, path.as_path())).collect();
    data_disk(&image, &files)?;
    let (mut vm, _port) = Port::start(&field.machine, &[&image])?;
    vm.expect("slot A, try 1 of 9", BOOT)?;
    vm.expect("FAILED", BOOT)?;
    vm.expect("ESC within 2 s starts recovery", BOOT)?;
    vm.type_text("\x1b")?;
    vm.expect("recovery cannot be started from (hd0,gpt7)", BOOT)?;
    vm.expect("RECOVERY", BOOT)?;
    vm.expect("DONE: version 2.0.0 is installed", BOOT)?;
    vm.expect("slot B, try 1 of 3 (on trial)", BOOT)?;
    committed(&mut vm, "2.0.0")?;
    vm.cut_power()?;
    expect_result(
        &image,
        &[
            "a-junk.daruma: REFUSED (code 10)",
            "b-torn.daruma: REFUSED (code 10)",
            "c-stranger.daruma: REFUSED (code 11)",
            "d-other.daruma (9.0.0): REFUSED (code 13)",
            "e-old.daruma (0.0.0-alpha): REFUSED (code 14)",
            "z-good.daruma (2.0.0): acceptable",
            "INSTALLED: version 2.0.0 into slot B",
        ],
    )?;
    field.done("from one boot image to a committed system");
    Ok(())
}

#[test]
fn under_uefi_a_key_starts_recovery_which_takes_the_highest_bundle_of_several_sticks() -> Result<()>
{
    let field = Field::under(Firmware::Uefi)?;
    field.overwrite(&["root-a", "boot-b", "root-b"])?;
    let new = field.stick("new.img", "2.0.0")?;
    let (old, empty) = (field.path("old.img"), field.path("empty.img"));
    data_disk(&old, &[("update.daruma", &field.fixture.bundle(TINY, "1.0.0")?)])?;
    stick::fat(&empty, &[], false)?;
    // The stick with the highest version is neither the first nor the last.
    let (mut vm, _port) = Port::start(&field.machine, &[&empty, &new, &old])?;
    vm.expect("slot A, try 1 of 9", BOOT)?;
    vm.expect("ESC within 2 s starts recovery", BOOT)?;
    vm.type_text("\x1b")?;
    vm.expect("RECOVERY", BOOT)?;
    vm.expect("the root folder holds no *.daruma", BOOT)?;
    vm.expect("DONE: version 2.0.0 is installed", BOOT)?;
    vm.expect("try 1 of 3 (on trial)", BOOT)?;
    committed(&mut vm, "2.0.0")?;
    vm.cut_power()?;
    for image in [&new, &old, &empty] {
        expect_result(
            image,
            &["(1.0.0): acceptable", "(2.0.0): acceptable", "INSTALLED: version 2.0.0 into slot"],
        )?;
    }
    field.done("under UEFI, from three sticks, to a committed system");
    Ok(())
}

#[test]
fn a_running_system_takes_a_newer_bundle_only_where_the_policy_says_so_and_recovery_follows()
-> Result<()> {
    let field = Field::new()?;
    let image = field.stick("fat.img", "2.0.0")?;
    let (mut vm, mut port) = Port::start(&field.machine, &[&image])?;
    committed(&mut vm, "1.0.0")?;
    // The commands do what udev would do.
    let drivers = "echo /usr/bin/modprobe >/proc/sys/kernel/modprobe; \
                   for name in xhci_pci usb_storage sd_mod; do modprobe $name || exit 1; done; \
                   until [ -b /dev/sda1 ]; do sleep 1; done";
    leave_sticks_alone(&mut vm)?;
    vm.run(&format!("({drivers})"), BOOT)?.success()?;
    // Both policies are off, so the agent ignores the stick. An install would change the state of
    // slot B.
    vm.run("sleep 5", 60)?.success()?;
    let now = status(&mut vm)?;
    ensure!(now["slots"]["B"]["ok"] == false, "something was installed: {now}");
    ensure!(vm.run("grep sda /proc/mounts", 60)?.status == 1, "the stick was mounted");

    let policy = "echo 'policy = \"newer\"' >>/etc/daruma/daruma.toml";
    vm.run(&format!("{policy} && killall daruma && sync"), 60)?.success()?;
    vm.type_line("daruma daemon >/dev/console 2>&1 &")?;
    vm.expect("update.daruma: version 2.0.0", BOOT)?;
    vm.expect("is installed in slot B from a USB stick", BOOT)?;
    vm.expect("slot B, try 1 of 3", BOOT)?;
    // The stick is still plugged in. Its version is no longer newer than the running one.
    committed(&mut vm, "2.0.0")?;
    vm.expect("recovery is now that of slot B", BOOT)?;
    vm.run("cmp /dev/vda5 /dev/vda7", 60)?.success()?;
    vm.run(&format!("({drivers})"), BOOT)?.success()?;
    vm.expect("is the one that runs", BOOT)?;
    vm.expect("nothing on the stick is installed", BOOT)?;

    // Only the third policy takes an older version.
    let older = field.stick("older.img", "1.0.0")?;
    let plugged = port.plug(&older)?;
    vm.expect("1.0.0 is not newer than the running 2.0.0", BOOT)?;
    vm.expect("nothing on the stick is installed", BOOT)?;
    port.pull(plugged)?;
    let policy = "sed -i 's/\"newer\"/\"any-signed\"/' /etc/daruma/daruma.toml";
    vm.run(&format!("{policy} && killall daruma && sync"), 60)?.success()?;
    vm.type_line("daruma daemon >/dev/console 2>&1 &")?;
    vm.expect("is the one that runs", BOOT)?;
    vm.expect("nothing on the stick is installed", BOOT)?;
    port.plug(&older)?;
    vm.expect("version 1.0.0 is installed in slot A from a USB stick", BOOT)?;
    vm.expect("slot A, try 1 of 3", BOOT)?;
    committed(&mut vm, "1.0.0")?;
    vm.cut_power()?;
    expect_result(
        &older,
        &["Device: tiny, version 2.0.0", "INSTALLED: version 1.0.0 into slot A"],
    )?;
    // The new system found nothing to do, and wrote its result above the result of the update.
    expect_result(
        &image,
        &["Device: tiny, version 2.0.0", "is the one that runs", "NOTHING WAS INSTALLED"],
    )?;
    expect_result(
        &image,
        &["Device: tiny, version 1.0.0", "INSTALLED: version 2.0.0 into slot B"],
    )?;
    field.done("an update by a stick");
    Ok(())
}

#[test]
fn an_exfat_stick_that_is_plugged_in_late_brings_a_dead_device_back() -> Result<()> {
    let field = Field::new()?;
    let bundle = field.fixture.bundle(TINY, "2.0.0")?;
    let image = field.path("exfat.img");
    stick::exfat(&image, 96 << 20)?;
    // Without root, no tool of the host writes files into an exFAT. So the guest copies the bundle
    // from its second disk.
    let mut machine = field.machine.clone();
    let data = field.path("data.ext4");
    data_disk(&data, &[("v2.daruma", &bundle)])?;
    machine.data = Some(data);
    let (mut vm, _port) = Port::start(&machine, &[&image])?;
    committed(&mut vm, "1.0.0")?;
    leave_sticks_alone(&mut vm)?;
    let copy = "for name in xhci_pci usb_storage sd_mod exfat; do modprobe $name || exit 1; done; \
                until [ -b /dev/sda ]; do sleep 1; done; mkdir -p /tmp/stick /tmp/data; \
                mount -t exfat /dev/sda /tmp/stick && mount -t ext4 -o ro /dev/vdb /tmp/data && \
                cp /tmp/data/v2.daruma /tmp/stick/Update.Daruma && umount /tmp/stick";
    vm.run(&format!("({copy})"), BOOT)?.success()?;
    vm.cut_power()?;

    field.overwrite(&SLOTS)?;
    let (mut vm, mut port) = Port::start(&field.machine, &[])?;
    vm.expect("plug in a USB stick", BOOT)?;
    port.plug(&image)?;
    vm.expect("(exfat)", BOOT)?;
    vm.expect("DONE: version 2.0.0 is installed", BOOT)?;
    committed(&mut vm, "2.0.0")?;
    // The stick has the result. The guest reads it, because the guest can read exFAT.
    let read = "for name in xhci_pci usb_storage sd_mod exfat; do modprobe $name || exit 1; done; \
                until [ -b /dev/sda ]; do sleep 1; done; mkdir -p /tmp/stick; \
                mount -t exfat -o ro /dev/sda /tmp/stick && cat /tmp/stick/daruma-result.txt";
    let text = vm.run(&format!("({read})"), BOOT)?.success()?;
    ensure!(text.contains("INSTALLED: version 2.0.0"), "{text}");
    field.done("by an exFAT stick, with the making of it");
    Ok(())
}

#[test]
fn a_factory_new_device_takes_the_credentials_of_a_stick_once() -> Result<()> {
    let field = Field::new()?;
    let (image, value) = (field.path("fat.img"), field.path("value"));
    std::fs::write(&value, "of this device")?;
    stick::fat(&image, &[("daruma-credentials/app.token", &value)], true)?;
    let (mut vm, _port) = Port::start(&field.machine, &[&image])?;
    committed(&mut vm, "1.0.0")?;
    // The commands do what udev would do.
    let drivers = "echo /usr/bin/modprobe >/proc/sys/kernel/modprobe; \
                   for name in xhci_pci usb_storage sd_mod; do modprobe $name || exit 1; done; \
                   until [ -b /dev/sda1 ]; do sleep 1; done";
    vm.run(&format!("({drivers})"), BOOT)?.success()?;
    vm.expect("credential app.token: taken (14 bytes)", BOOT)?;
    vm.expect("1 new credentials are taken from a USB stick", BOOT)?;
    committed(&mut vm, "1.0.0")?;
    // This system has no systemd, so they stay where daruma-init has put them.
    let found = vm.run("cat /run/credentials/@initrd/app.token", 60)?.success()?;
    ensure!(found == "of this device", "{found:?}");
    // The device is provisioned now, so a stick is not even mounted.
    vm.run(&format!("({drivers}) && sleep 5"), BOOT)?.success()?;
    ensure!(vm.run("grep sda /proc/mounts", 60)?.status == 1, "the stick was mounted");
    drop(vm);
    expect_result(&image, &["credential app.token: taken (14 bytes)"])?;
    field.done("credentials from a stick");
    Ok(())
}
