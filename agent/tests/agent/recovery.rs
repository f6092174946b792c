//! Recovery on a device in a folder.
//!
//! `bench` makes the device, and a second folder stands for the stick. The tests show which bundle
//! is taken, into which slot, and what the result file says.

use std::fs;
use std::path::{Path, PathBuf};

use agent::{Config, Device, Exit, recovery, recovery_copy};
use grub_env::BootState;
use image_layout::Slot;

use crate::bench::{Bench, Spec, noise};

const IDENTITY: &str =
    "set daruma_compatible=router\nset daruma_version=1.0.0\nset daruma_min_version=0.5.0\n";

/// Returns a device in recovery, on which no slot runs, and an empty folder in the place of a
/// stick.
fn dead_device() -> (Bench, tempfile::TempDir) {
    let bench = Bench::new();
    fs::write(bench.path("etc/daruma/recovery.cfg"), IDENTITY).unwrap();
    bench.set_cmdline("daruma.slot=recovery daruma.try=0 panic=5");
    (bench, tempfile::tempdir().unwrap())
}

fn put(bench: &Bench, stick: &Path, name: &str, spec: &Spec<'_>) -> PathBuf {
    let made = bench.bundle(spec);
    let path = stick.join(name);
    fs::rename(&made.path, &path).unwrap();
    path
}

/// Removes the only signature of a bundle, and makes the footer agree (`docs/bundle-format.md`).
fn unsign(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let (rest, footer) = bytes.split_at(bytes.len() - 64);
    let mut unsigned = rest[..rest.len() - 76].to_vec();
    unsigned.extend([0; 4]);
    let mut footer = footer.to_vec();
    let size = unsigned.len() as u64 + 64;
    footer[24..32].copy_from_slice(&size.to_le_bytes());
    footer[44..48].copy_from_slice(&4_u32.to_le_bytes());
    let checked = [&[0; 4][..], &footer[..48]].concat();
    footer[48..].copy_from_slice(&bundle::Sha256::of(&checked).0[..16]);
    unsigned.extend(footer);
    fs::write(path, unsigned).unwrap();
}

fn recover(bench: &Bench, stick: &Path) -> Result<(String, Slot), agent::Failure> {
    let device = Device::at(bench.path("esp").parent().unwrap()).unwrap();
    let config = Config::load(&device.path("/etc/daruma/daruma.toml")).unwrap();
    recovery::install_from(&device, &config, stick)
        .map(|(version, slot)| (version.to_string(), slot))
}

fn result(stick: &Path) -> String {
    fs::read_to_string(stick.join("daruma-result.txt")).unwrap()
}

#[test]
fn everything_unacceptable_is_refused_with_its_reason_and_the_good_one_is_taken() {
    let (bench, stick) = dead_device();
    let stick = stick.path();
    let good = |version| Spec { version, ..Spec::default() };
    unsign(&put(&bench, stick, "unsigned.daruma", &good("9.0.0")));
    put(&bench, stick, "stranger.daruma", &Spec { keys: &[7], ..good("9.0.1") });
    put(&bench, stick, "old.daruma", &good("0.4.9"));
    put(&bench, stick, "other.daruma", &Spec { compatible: "hypervisor", ..good("9.0.2") });
    let torn = put(&bench, stick, "torn.daruma", &good("9.0.3"));
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() - 100]).unwrap();
    // The agent finds this damage only when it reads the whole bundle.
    let flipped = put(&bench, stick, "flipped.daruma", &good("9.0.4"));
    let mut bytes = fs::read(&flipped).unwrap();
    bytes[300_000] ^= 1;
    fs::write(&flipped, bytes).unwrap();
    fs::write(stick.join("junk.daruma"), noise(3, 100_000)).unwrap();
    fs::write(stick.join("empty.daruma"), "").unwrap();
    fs::write(stick.join("readme.txt"), "hello").unwrap();
    put(&bench, stick, "a-good.daruma", &good("2.0.0"));
    put(&bench, stick, "z-older.daruma", &good("1.9.0"));

    assert_eq!(recover(&bench, stick).unwrap(), ("2.0.0".to_owned(), Slot::B));
    let text = result(stick);
    for line in [
        "unsigned.daruma: REFUSED (code 11): unsigned.daruma: the bundle is not signed",
        "stranger.daruma: REFUSED (code 11): stranger.daruma: signed by a stranger",
        "old.daruma (0.4.9): REFUSED (code 14): old.daruma: version 0.4.9 is below the \
            anti-rollback floor 0.5.0",
        "other.daruma (9.0.2): REFUSED (code 13): other.daruma: the bundle is for \"hypervisor\"",
        "torn.daruma: REFUSED (code 10): torn.daruma: not a Daruma bundle",
        "flipped.daruma (9.0.4): REFUSED (code 12): flipped.daruma: damaged bundle",
        "junk.daruma: REFUSED (code 10)",
        "empty.daruma: REFUSED (code 10)",
        "a-good.daruma (2.0.0): acceptable",
        "z-older.daruma (1.9.0): acceptable",
        "Device: router, version 1.0.0",
        "INSTALLED: version 2.0.0 into slot B",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    assert!(!text.contains("readme"), "{text}");
    assert_eq!(bench.boot(), Some(Slot::B));
    assert_eq!(bench.state().trial, Some(Slot::B));
}

#[test]
fn a_folder_without_anything_acceptable_changes_nothing() {
    let (bench, stick) = dead_device();
    let before = bench.untouchables();
    let failure = recover(&bench, stick.path()).unwrap_err();
    assert_eq!(failure.exit, Exit::NotABundle);
    assert!(result(stick.path()).contains("holds no *.daruma"), "{}", result(stick.path()));
    put(&bench, stick.path(), "x.daruma", &Spec { keys: &[9], ..Spec::default() });
    assert_eq!(recover(&bench, stick.path()).unwrap_err().exit, Exit::NotABundle);
    assert!(result(stick.path()).contains("NOTHING WAS INSTALLED"));
    assert!(bench.untouchables() == before, "something was written");
}

#[test]
fn the_floor_of_a_committed_slot_holds_in_recovery_and_that_of_a_failed_trial_does_not() {
    for (trial, expected) in
        [(None, Err(Exit::NotABundle)), (Some(Slot::A), Ok("2.0.0".to_owned()))]
    {
        let (bench, stick) = dead_device();
        bench.put_boot_image(
            Slot::A,
            &Spec { version: "3.0.0", min_version: "2.5.0", ..Spec::default() },
        );
        bench.set_state(&BootState { trial, ..BootState::factory() });
        put(&bench, stick.path(), "two.daruma", &Spec::default());
        let got = recover(&bench, stick.path())
            .map(|(version, _)| version)
            .map_err(|failure| failure.exit);
        assert_eq!(got, expected, "{}", result(stick.path()));
    }
}

#[test]
fn a_bundle_that_failed_here_before_comes_last() {
    let (bench, stick) = dead_device();
    put(&bench, stick.path(), "two.daruma", &Spec::default());
    assert_eq!(recover(&bench, stick.path()).unwrap().0, "2.0.0");
    // Three boots are not healthy. Then the agent of the other slot puts the bundle into
    // quarantine.
    for _ in 0..3 {
        assert_eq!(bench.boot(), Some(Slot::B));
    }
    bench.put_boot_image(Slot::A, &Spec { version: "1.0.0", ..Spec::default() });
    assert_eq!(bench.boot(), Some(Slot::A));
    assert_eq!(bench.run(&["mark", "bad", "B"]).code, Some(0));
    bench.set_cmdline("daruma.slot=recovery");
    // It is the only bundle, so recovery takes it and says so.
    assert_eq!(recover(&bench, stick.path()).unwrap().0, "2.0.0");
    // Recovery takes an older bundle that did not fail first.
    put(&bench, stick.path(), "one.daruma", &Spec { version: "1.5.0", ..Spec::default() });
    assert_eq!(recover(&bench, stick.path()).unwrap().0, "1.5.0");
}

#[test]
fn the_recovery_partition_follows_the_committed_slot_and_not_one_on_trial() {
    let bench = Bench::new();
    let device = || Device::at(bench.path("esp").parent().unwrap()).unwrap();
    assert_eq!(recovery_copy::refresh(&device()).unwrap(), None, "there is no such partition");
    fs::write(bench.path("recovery"), noise(9, 2 << 20)).unwrap();

    // The bench's boot images lack what recovery needs. So the agent does not copy them.
    assert_eq!(recovery_copy::refresh(&device()).unwrap_err().exit, Exit::Content);
    let image = whole_boot_image();
    let mut partition = image.clone();
    partition.resize(2 << 20, 0);
    fs::write(bench.path("boot-a"), &partition).unwrap();
    bench.set_state(&BootState { trial: Some(Slot::A), ..BootState::factory() });
    assert_eq!(recovery_copy::refresh(&device()).unwrap(), None, "A is on trial");
    assert_eq!(bench.bytes("recovery"), noise(9, 2 << 20));

    bench.set_state(&BootState::factory());
    assert!(recovery_copy::refresh(&device()).unwrap().unwrap().contains("slot A"));
    assert!(bench.bytes("recovery").starts_with(&image));
    assert_eq!(recovery_copy::refresh(&device()).unwrap(), None, "it is up to date");

    // A partition that is too small is refused before a byte of it is written.
    fs::write(bench.path("recovery"), noise(9, 8192)).unwrap();
    assert_eq!(recovery_copy::refresh(&device()).unwrap_err().exit, Exit::TooLarge);
    assert_eq!(bench.bytes("recovery"), noise(9, 8192));
}

fn whole_boot_image() -> Vec<u8> {
    let mut boot = bundle::StoredSquashfs::new();
    let mut lists = [String::new(), String::new()];
    for (list, name) in [(0, "vmlinuz"), (0, "initrd"), (1, "recovery.img")] {
        let bytes = noise(name.len() as u64, 100_000);
        lists[list] += &format!("{}  {name}\n", bundle::Sha256::of(&bytes));
        boot.add_bytes(name, bytes).unwrap();
    }
    boot.add_bytes("SHA256SUMS", lists[0].clone().into_bytes()).unwrap();
    boot.add_bytes("RECOVERY.SHA256SUMS", lists[1].clone().into_bytes()).unwrap();
    let mut image = Vec::new();
    boot.write(&mut image).unwrap();
    image
}
