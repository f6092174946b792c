//! Installs of files: those that succeed, and those that are cut off.
//!
//! `bench` makes the device and the bundles, and `refusals` has the installs that are refused.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, symlink};
use std::process::{Child, Stdio};

use image_layout::Slot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Bench, Ended, Spec, noise};

/// Starts an install and waits until it prints what it is going to write.
fn start(bench: &Bench, bundle: &std::path::Path) -> Child {
    let mut command = bench.command(&["install", bundle.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("to write"), "{line:?}");
    child
}

#[test]
fn an_installed_bundle_lies_in_the_idle_slot_and_boots_next() {
    let bench = Bench::new();
    let made = bench.bundle(&Spec::default());
    let (boot_a, root_a) = (bench.bytes("boot-a"), bench.bytes("root-a"));
    let ended = bench.install(&made.path);
    ended.succeeded();
    assert!(ended.stdout.contains("router 2.0.0 into slot B: "), "{ended:?}");
    assert!(made.is_in_slot_b(&bench));
    assert!(boot_a == bench.bytes("boot-a") && root_a == bench.bytes("root-a"));
    let status = bench.status();
    assert_eq!((&status["boots_next"], &status["running"]), (&"B".into(), &"A".into()));
    assert_eq!(status["slots"]["B"]["version"], "2.0.0");
    assert_eq!(status["slots"]["B"]["trial"], true);
    assert_eq!(bench.boot(), Some(Slot::B));
    assert_eq!(bench.status()["state"], "trial");
}

#[test]
fn a_second_install_replaces_the_first_before_it_was_booted() {
    let bench = Bench::new();
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    let third = bench.bundle(&Spec { version: "3.0.0", root_size: 3 << 20, ..Spec::default() });
    bench.install(&third.path).succeeded();
    assert!(third.is_in_slot_b(&bench));
    assert_eq!(bench.state().trial, Some(Slot::B));
}

#[test]
fn images_that_end_within_a_piece_or_on_its_boundary_are_written_whole() {
    for (boot_padding, root_size) in [
        (4096, 4096 * 3),
        (1 << 20, 16 << 20),
        (1_000_000, (16 << 20) + 4096),
        (1, (17 << 20) - 4096),
    ] {
        let bench = Bench::new();
        let made = bench.bundle(&Spec { boot_padding, root_size, ..Spec::default() });
        bench.install(&made.path).succeeded();
        assert!(made.is_in_slot_b(&bench), "{boot_padding} {root_size}");
    }
}

#[test]
fn an_install_killed_anywhere_leaves_a_device_on_which_the_next_one_works() {
    let seed = 42_u64;
    println!("seed {seed}");
    let bench = Bench::new();
    let root_size = 12 << 20;
    for (round, number) in noise(seed, 8 * 8).chunks_exact(8).enumerate() {
        let version = format!("2.{round}.0");
        let made = bench.bundle(&Spec { version: &version, root_size, ..Spec::default() });
        let number = u64::from_le_bytes(number.try_into().unwrap());
        // The test kills the install at an event on the disk: the block at this place is that of
        // the new bundle.
        let block = usize::try_from(number).unwrap_or(usize::MAX) % (root_size / 4096);
        let wanted = &made.root[block * 4096..][..4096];
        let mut child = start(&bench, &made.path);
        let partition = File::open(bench.path("root-b")).unwrap();
        let mut found = vec![0; 4096];
        while found != wanted && child.try_wait().unwrap().is_none() {
            partition.read_exact_at(&mut found, block as u64 * 4096).unwrap();
        }
        // The test does not use kill(2), because on a busy machine the install may already have
        // ended.
        child.kill().unwrap();
        child.wait().unwrap();
        let state = bench.state();
        match state.select().slot {
            Some(Slot::A) => {
                assert!(!state.b.ok, "block {block}: a half-written slot may be booted")
            }
            Some(Slot::B) => {
                assert!(made.is_in_slot_b(&bench), "block {block}: a half-written slot boots")
            }
            None => panic!("block {block}: nothing boots"),
        }
        bench.install(&made.path).succeeded();
        assert!(made.is_in_slot_b(&bench), "block {block}");
        assert_eq!(bench.state().select().slot, Some(Slot::B));
    }
}

#[test]
fn ctrl_c_and_sigterm_stop_cleanly_with_one_line() {
    for (signal, code, line) in [(Signal::SIGINT, 130, "Ctrl-C"), (Signal::SIGTERM, 143, "SIGTERM")]
    {
        let bench = Bench::new();
        let made = bench.bundle(&Spec { root_size: 30 << 20, ..Spec::default() });
        let child = start(&bench, &made.path);
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        Ended::of(child).refused(code, line);
        assert_eq!(bench.state().select().slot, Some(Slot::A));
        bench.install(&made.path).succeeded();
    }
}

#[test]
fn a_damaged_environment_is_rebuilt_by_an_install() {
    let bench = Bench::new();
    let esp = bench.bytes("esp");
    let signature = b"# GRUB Environment Block";
    let mut damaged = esp.clone();
    let places: Vec<_> = esp
        .windows(signature.len())
        .enumerate()
        .filter(|(_, w)| w == signature)
        .map(|(i, _)| i)
        .collect();
    assert_eq!(places.len(), 2);
    for place in places {
        damaged[place..place + 1024].fill(0);
    }
    fs::write(bench.path("esp"), damaged).unwrap();
    assert_ne!(bench.status()["environment_damage"].as_array().unwrap().len(), 0);
    bench.install(&bench.bundle(&Spec::default()).path).succeeded();
    assert_eq!(bench.status()["environment_damage"].as_array().unwrap().len(), 0);
    assert_eq!(bench.boot(), Some(Slot::B));
}

#[test]
fn a_state_file_that_is_damaged_is_reported_and_begun_anew() {
    let bench = Bench::new();
    fs::write(bench.path("var/lib/daruma/state.json"), "{\"events\": 7").unwrap();
    let ended = bench.install(&bench.bundle(&Spec::default()).path);
    ended.succeeded();
    assert!(ended.stderr.contains("going on without the events"), "{ended:?}");
    assert_eq!(bench.status()["events"][0]["kind"], "installed");
}

#[test]
fn a_state_file_for_which_there_is_no_space_does_not_stop_an_install() {
    let bench = Bench::new();
    symlink("/dev/full", bench.path("var/lib/daruma/state.json.new")).unwrap();
    let ended = bench.install(&bench.bundle(&Spec::default()).path);
    ended.succeeded();
    assert!(ended.stderr.contains("No space left on device"), "{ended:?}");
    assert_eq!(bench.boot(), Some(Slot::B));
}

#[test]
fn a_reader_that_goes_away_does_not_stop_an_install() {
    let bench = Bench::new();
    let made = bench.bundle(&Spec::default());
    let mut command = bench.command(&["install", made.path.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    assert!(made.is_in_slot_b(&bench));
}
