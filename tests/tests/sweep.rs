//! Runs the power-cut sweep and its faults, as `make sweep` does.
//!
//! The sweep itself is the program in `tests/sweep/`.

use std::process::{Command, Stdio};

use grub_env::{BootState, Env, GRUB_CFG};
use image_layout::Slot;
use tests::grub_disk::{GrubDisk, PARTITION};
use tests::grub_emu::EnvFile;
use tests::share;

/// Runs one part of the sweep. Returns the tables that it prints.
#[track_caller]
fn sweep(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sweep")).args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("the sweep starts");
    let tables = String::from_utf8(output.stdout).expect("its tables are text");
    println!("{tables}");
    assert!(output.status.success(), "{tables}\n{}", String::from_utf8_lossy(&output.stderr));
    tables
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_device_that_boots_and_finishes_the_job() {
    let (one_of, seed) = (share::one_of(12).unwrap(), share::seed().unwrap());
    let tables = sweep(&["cuts", "--one-of", &one_of.to_string(), "--seed", &seed.to_string()]);
    let distinct = tables.lines().find(|line| line.contains("distinct crash states")).unwrap();
    let distinct: usize = distinct.split_whitespace().next().unwrap().parse().unwrap();
    let least = if one_of == 1 { 10_000 } else { 1_000 };
    assert!(distinct >= least, "{distinct} states are too few to prove anything");
}

#[test]
fn a_wrong_order_of_steps_and_a_disk_that_lies_are_noticed() {
    assert!(!sweep(&["mutations"]).contains("NOT NOTICED"));
}

#[test]
fn a_faulty_disk_ends_an_install_with_one_line_and_a_device_that_boots() {
    sweep(&["faults"]);
}

#[test]
fn an_install_killed_before_any_operation_leaves_a_device_that_boots() {
    sweep(&["kills"]);
}

#[test]
fn a_broken_var_and_a_wrong_clock_do_not_stop_an_install() {
    sweep(&["programs"]);
}

#[test]
fn a_block_of_which_either_sector_is_missing_says_the_old_or_the_new_state() {
    // A variable of somebody else also changes the second sector of the block.
    let block = |state: &BootState, other: &str| {
        let mut env = Env::new();
        state.apply_to(&mut env);
        let mut block = env.encode();
        let end = block.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        let line = format!("other_of_somebody={}\n", other.repeat(800));
        block[end..end + line.len()].copy_from_slice(line.as_bytes());
        block
    };
    let old = BootState::factory();
    let mut new = old;
    new.begin_install(Slot::B).unwrap();
    new.begin_trial(Slot::B).unwrap();
    let blocks = [block(&old, "x"), block(&new, "y")];
    let grub = GrubDisk::new().unwrap();
    for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut torn = blocks[first];
        torn[512..].copy_from_slice(&blocks[second][512..]);
        assert_eq!(BootState::from_env(&Env::parse(&torn).unwrap()), [old, new][first]);
        let main = EnvFile::Bytes(torn.to_vec());
        let esp = grub.esp(GRUB_CFG, &main, &EnvFile::Bytes(blocks[0].to_vec())).unwrap();
        // No boot image loads here. GRUB prints on its screen what it wants to start.
        let nothing = [0; PARTITION];
        let boots = grub.boot(&[&esp], [&nothing, &nothing, &nothing], 1).unwrap();
        let screen = &boots[0].boots[0].screen;
        let wanted = ["slot A, try 1 of 9 (committed)", "slot B, try 1 of 3 (on trial)"][first];
        let said = screen.lines().find(|line| line.contains("try 1 of")).unwrap_or_default();
        assert!(said.contains(wanted), "{first} {second}: {screen}");
    }
}
