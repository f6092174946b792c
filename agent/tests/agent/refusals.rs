//! Every refusal of an install.
//!
//! `bench` makes the device and the bundles. Each refusal has its exit code and one line, and
//! touches no byte of a slot or the environment.

use std::fs;

use agent::Lock;
use image_layout::Slot;

use crate::bench::{Bench, Spec};

/// Installs the bundle. Asserts that it is refused and changes nothing.
#[track_caller]
fn refused(bench: &Bench, bundle: &std::path::Path, code: i32, part: &str) {
    let before = bench.untouchables();
    bench.install(bundle).refused(code, part);
    assert!(before == bench.untouchables(), "a refused bundle changed the device");
}

#[test]
fn what_is_no_bundle_is_refused() {
    let bench = Bench::new();
    refused(&bench, &bench.path("missing.daruma"), 10, "missing.daruma");
    for (name, bytes) in
        [("empty", vec![]), ("short", vec![1; 63]), ("garbage", vec![0x5a; 70_000])]
    {
        fs::write(bench.path(name), bytes).unwrap();
        refused(&bench, &bench.path(name), 10, "not a Daruma bundle");
    }
}

#[test]
fn a_torn_or_over_long_bundle_is_refused() {
    let bench = Bench::new();
    let bytes = fs::read(bench.bundle(&Spec::default()).path).unwrap();
    let path = bench.path("torn.daruma");
    for length in [bytes.len() - 1, bytes.len() - 64, bytes.len() - 4096, bytes.len() / 2, 4096] {
        fs::write(&path, &bytes[..length]).unwrap();
        refused(&bench, &path, 10, "get the file again");
    }
    fs::write(&path, [bytes.as_slice(), b"\0"].concat()).unwrap();
    refused(&bench, &path, 10, "over-long");
}

#[test]
fn a_bundle_with_any_bit_flipped_is_refused() {
    let seed = 20_261_121_u64;
    println!("seed {seed}");
    let bench = Bench::new();
    let spec = Spec { boot_padding: 100_000, root_size: 1 << 20, ..Spec::default() };
    let mut bytes = fs::read(bench.bundle(&spec).path).unwrap();
    let before = bench.untouchables();
    let path = bench.path("flipped.daruma");
    // The flipped bits are anywhere in the file, and more densely in the tail, where every part has
    // its own check.
    let random = crate::bench::noise(seed, 60 * 8);
    let positions = random.chunks_exact(8).enumerate().map(|(index, number)| {
        let number = usize::from_le_bytes(number.try_into().unwrap());
        let tail = bytes.len() - 1500;
        if index % 3 == 0 { number % bytes.len() } else { tail + number % 1500 }
    });
    for position in positions.collect::<Vec<_>>() {
        let bit = 1 << (position % 8);
        bytes[position] ^= bit;
        fs::write(&path, &bytes).unwrap();
        let ended = bench.install(&path);
        assert!(
            matches!(ended.code, Some(10..=12 | 16)),
            "bit {bit:#x} of byte {position}: {ended:?}"
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        bytes[position] ^= bit;
    }
    assert!(before == bench.untouchables(), "a refused bundle changed the device");
}

#[test]
fn a_strangers_bundle_is_refused() {
    let bench = Bench::new();
    refused(&bench, &bench.bundle(&Spec { keys: &[9], ..Spec::default() }).path, 11, "stranger");
}

#[test]
fn a_bundle_with_too_few_signatures_is_refused() {
    let bench = Bench::new();
    bench.config("keyring-threshold = 2\n");
    refused(&bench, &bench.bundle(&Spec::default()).path, 11, "asks for 2");
    bench.install(&bench.bundle(&Spec { keys: &[1, 2], ..Spec::default() }).path).succeeded();
}

#[test]
fn a_bundle_for_other_devices_is_refused() {
    let bench = Bench::new();
    refused(
        &bench,
        &bench.bundle(&Spec { compatible: "toaster", ..Spec::default() }).path,
        13,
        "toaster",
    );
}

#[test]
fn a_version_below_either_floor_is_refused() {
    let bench = Bench::new();
    let old = bench.bundle(&Spec { version: "0.9.0", ..Spec::default() }).path;
    bench.config("min-version = \"0.9.1\"\n");
    refused(&bench, &old, 14, "0.9.1");
    bench.config("min-version = \"0.1.0\"\n");
    bench.put_boot_image(
        Slot::A,
        &Spec { version: "1.0.0", min_version: "0.9.5", ..Spec::default() },
    );
    refused(&bench, &old, 14, "0.9.5");
    bench.put_boot_image(Slot::A, &Spec { version: "1.0.0", ..Spec::default() });
    bench.install(&old).succeeded();
}

#[test]
fn an_image_larger_than_its_partition_is_refused() {
    let bench = Bench::new();
    refused(
        &bench,
        &bench.bundle(&Spec { boot_padding: 2 << 20, ..Spec::default() }).path,
        15,
        "image boot",
    );
    refused(
        &bench,
        &bench.bundle(&Spec { root_size: 33 << 20, ..Spec::default() }).path,
        15,
        "image root",
    );
}

#[test]
fn an_install_while_on_trial_is_refused() {
    let bench = Bench::new();
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    assert_eq!(bench.boot(), Some(Slot::B));
    refused(
        &bench,
        &bench.bundle(&Spec { version: "3.0.0", ..Spec::default() }).path,
        17,
        "slot B is on trial",
    );
}

#[test]
fn an_install_while_another_process_changes_the_device_is_refused() {
    let bench = Bench::new();
    let bundle = bench.bundle(&Spec::default()).path;
    let held = Lock::take(&bench.path("run/daruma/lock")).unwrap();
    refused(&bench, &bundle, 18, &format!("process {}", std::process::id()));
    drop(held);
    bench.install(&bundle).succeeded();
}

#[test]
fn a_device_without_an_environment_that_can_be_written_is_refused() {
    let bench = Bench::new();
    let bundle = bench.bundle(&Spec::default()).path;
    fs::write(bench.path("esp"), vec![0; 1 << 20]).unwrap();
    refused(&bench, &bundle, 20, "boot environment");
}

#[test]
fn a_machine_that_is_no_daruma_device_is_refused() {
    let bench = Bench::new();
    let bundle = bench.bundle(&Spec::default()).path;
    bench.set_cmdline("root=/dev/sda1 quiet");
    refused(&bench, &bundle, 22, "daruma.slot=");
    bench.set_cmdline("daruma.slot=recovery");
    refused(&bench, &bundle, 22, "recovery image");
    bench.set_cmdline("daruma.slot=A");
    let whole = bench.bytes("boot-a");
    fs::write(bench.path("boot-a"), vec![0; 4096]).unwrap();
    refused(&bench, &bundle, 22, "cannot tell what this device is");
    fs::write(bench.path("boot-a"), whole).unwrap();
    fs::remove_file(bench.path("root-b")).unwrap();
    bench.install(&bundle).refused(22, "\"root-b\"");
}

#[test]
fn an_invalid_configuration_or_keyring_is_refused() {
    let bench = Bench::new();
    let bundle = bench.bundle(&Spec::default()).path;
    bench.config("keyrings = \"/x\"\n");
    refused(&bench, &bundle, 23, "did you mean `keyring`?");
    bench.config("keyring = \"/nowhere\"\n");
    refused(&bench, &bundle, 23, "nowhere");
    bench.config("keyring-threshold = 3\n");
    refused(&bench, &bundle, 23, "keyring");
}

#[test]
fn a_command_line_that_is_not_understood_is_refused() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["instal", "x"]).code, Some(2));
    assert_eq!(bench.run(&["mark", "good", "C"]).code, Some(2));
    assert_eq!(bench.run(&["--help"]).code, Some(0));
}
