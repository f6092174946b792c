//! Compares `grub.cfg` with its twin [`BootState::select`], state by state.
//!
//! `tests::grub_emu` runs the script under grub-emu. [`choose`] computes what GRUB should do.
//!
//! Both must choose the same slot and write the same environment.

#![allow(clippy::unwrap_used)] // A test may; clippy does not know its helper functions for one.

use std::time::Instant;

use grub_env::{BOOTED, BootState, Choice, Copy, Env, GRUB_CFG, choose};
use image_layout::Slot;
use tests::grub_emu::{BootImage, EnvFile, EnvFiles, Machine, Outcome, boot_all};
use tests::share;

const GOOD: [BootImage; 3] = [BootImage::Good; 3];
const NAMES: [&str; 6] = ["ORDER", "A_OK", "A_TRY", "B_OK", "B_TRY", "TRIAL"];

/// The texts of the six variables; `None` is a variable that does not exist.
type Texts = [Option<&'static str>; 6];

fn block(texts: &Texts) -> Vec<u8> {
    let mut env = Env::new();
    for (name, text) in NAMES.iter().zip(texts) {
        if let Some(text) = text {
            env.set(name, text).unwrap();
        }
    }
    env.encode().to_vec()
}

fn state_block(state: BootState) -> Vec<u8> {
    let mut env = Env::new();
    state.apply_to(&mut env);
    env.encode().to_vec()
}

fn bytes(file: &EnvFile) -> Option<&[u8]> {
    match file {
        EnvFile::Missing => None,
        EnvFile::Bytes(bytes) => Some(bytes),
    }
}

/// Returns a file as GRUB reads it: of any length, with or without padding.
fn env(file: &EnvFile) -> Option<Env> {
    let mut padded = [b'#'; Env::SIZE];
    let bytes = bytes(file)?;
    padded[..bytes.len()].copy_from_slice(bytes);
    Env::parse(&padded).ok()
}

/// Returns every combination of the texts that the issue lists.
fn every_state() -> Vec<Texts> {
    let orders = [Some("A B"), Some("B A"), None, Some("C A")];
    let oks = [Some("0"), Some("1"), None, Some("yes")];
    let tries = [
        Some("0"),
        Some("1"),
        Some("2"),
        Some("3"),
        Some("4"),
        Some("5"),
        Some("6"),
        Some("7"),
        Some("8"),
        Some("9"),
        Some("10"),
        None,
        Some("x"),
    ];
    let trials = [Some(""), Some("A"), Some("B"), Some("Z")];
    let mut states = Vec::new();
    for order in orders {
        for trial in trials {
            for a_ok in oks {
                for b_ok in oks {
                    for a_try in tries {
                        states.extend(tries.map(|b_try| [order, a_ok, a_try, b_ok, b_try, trial]));
                    }
                }
            }
        }
    }
    states
}

/// Returns, as one line, what GRUB did differently from its twin; `None` when they agree.
fn disagreement(before: &EnvFiles, choice: &Choice, outcome: &Outcome) -> Option<String> {
    let slot = choice.selection.slot;
    let name = slot.map_or("recovery", Slot::name);
    if outcome.slot() != Some(name) {
        return Some(format!("started {:?}, not {name}", outcome.slot()));
    }
    if outcome.with_archive != slot.is_none() {
        return Some(format!("the recovery archive was loaded: {}", outcome.with_archive));
    }
    let after = choice.selection.after;
    let tries = slot.map_or(0, |slot| after.slot(slot).tries);
    if choice.copy.is_some() && outcome.argument("daruma.try") != Some(tries.to_string().as_str()) {
        return Some(format!("daruma.try is {:?}, not {tries}", outcome.argument("daruma.try")));
    }
    if outcome.argument("daruma.disk") != Some(&outcome.esp_guid) {
        return Some(format!(
            "daruma.disk is {:?}, not {}",
            outcome.argument("daruma.disk"),
            outcome.esp_guid
        ));
    }
    let on_trial = slot.is_some() && slot == after.trial;
    if outcome.argument("daruma.trial").is_some() != on_trial {
        return Some(format!("daruma.trial is {:?}", outcome.argument("daruma.trial")));
    }
    if outcome.argument("daruma.verity") != Some(format!("hash-{name}:salt:1").as_str()) {
        return Some(format!("daruma.verity is {:?}", outcome.argument("daruma.verity")));
    }
    // Only boot image A sets daruma_args.
    let quiet = outcome
        .command_line
        .as_ref()
        .is_some_and(|words| words.ends_with(&["quiet".into(), "console=ttyS0".into()]));
    if quiet != (slot == Some(Slot::A)) {
        return Some(format!("the command line is {:?}", outcome.command_line));
    }
    let copies = [
        (Copy::Main, &before.main, &outcome.files.main),
        (Copy::Bak, &before.bak, &outcome.files.bak),
    ];
    for (copy, was, is) in copies {
        if choice.copy == Some(copy) {
            let (Some(was), Some(got)) = (env(was), env(is)) else {
                return Some(format!("{} is gone", copy.path()));
            };
            let counted = match slot {
                Some(slot) => {
                    was.saved_by_grub(&format!("{slot}_TRY"), &tries.to_string()).unwrap()
                }
                None => was,
            };
            // GRUB saves the time of the boot with the count, if the block has room for the time.
            let booted = outcome.argument("daruma.booted");
            if booted.is_none() && counted.saved_by_grub(BOOTED, "2026-11-28T12:59:59").is_some() {
                return Some(format!("{} has room for {BOOTED}, which was not saved", copy.path()));
            }
            let expected = match booted {
                Some(booted) => counted.saved_by_grub(BOOTED, booted).unwrap(),
                None => counted,
            };
            if got != expected || BootState::from_env(&got) != after {
                return Some(format!("{} became {got:?}, not {expected:?}", copy.path()));
            }
        } else if env(was).map(|env| BootState::from_env(&env))
            != env(is).map(|env| BootState::from_env(&env))
        {
            // GRUB may try to count in a block that has a name twice. It then changes the line that
            // nobody reads.
            return Some(format!("{} was changed", copy.path()));
        }
    }
    None
}

/// Boots every state. Returns each disagreement with the twin, with its state.
fn disagreements(grub_cfg: &str, states: &[EnvFiles], minute: Option<u8>) -> Vec<String> {
    let outcomes = boot_all(grub_cfg, GOOD, states, minute).unwrap();
    let mut all = Vec::new();
    for (before, outcome) in states.iter().zip(&outcomes) {
        let choice = choose(env(&before.main).as_ref(), env(&before.bak).as_ref(), minute);
        if let Some(what) = disagreement(before, &choice, outcome) {
            all.push(format!(
                "{what}\n  from {:?}\n  screen: {}",
                env(&before.main),
                outcome.screen
            ));
        }
    }
    all
}

fn assert_none(disagreements: &[String]) {
    assert!(
        disagreements.is_empty(),
        "{} disagreements, the first: {}",
        disagreements.len(),
        disagreements[0]
    );
}

fn with_bak(main: Vec<u8>) -> EnvFiles {
    // The second copy would choose another slot. The test then sees it if GRUB reads the second
    // copy by mistake.
    let bak = BootState { order: [Slot::B, Slot::A], trial: Some(Slot::B), ..BootState::unknown() };
    EnvFiles { main: EnvFile::Bytes(main), bak: EnvFile::Bytes(state_block(bak)) }
}

#[test]
fn in_every_state_grub_chooses_and_writes_what_select_says() {
    let started = Instant::now();
    // The states have a pattern in their order, and 5 has no part in it: 5 runs with the seeds 0 to
    // 4 do all states, and each of them has every text of every variable.
    let (one_of, seed) = (share::one_of(5).unwrap(), share::seed().unwrap());
    let first = usize::try_from(seed % one_of as u64).unwrap();
    let all = every_state();
    let states: Vec<_> =
        all.iter().skip(first).step_by(one_of).map(|texts| with_bak(block(texts))).collect();
    assert!(states.len() >= all.len() / one_of, "{} of {} states", states.len(), all.len());
    assert_none(&disagreements(GRUB_CFG, &states, None));
    println!(
        "grub-emu agreed with select() in {} of {} states (DARUMA_SEED={seed}), {:.0?}",
        states.len(),
        all.len(),
        started.elapsed()
    );
}

#[test]
fn hostile_values_mean_to_grub_what_they_mean_to_from_env() {
    let long = "9".repeat(300);
    let values = [
        "!",
        "(",
        ")",
        "-e",
        "-f",
        "--help",
        "--",
        "]",
        "*",
        "?",
        "$A_OK",
        "${B_TRY}",
        "\"",
        "'",
        ";",
        "{",
        "}",
        "|",
        "&",
        "#",
        "\\",
        "\n",
        "a b",
        "A",
        "B",
        "A ",
        " B",
        "B  A",
        "B A ",
        "B A C",
        "B B",
        "ab",
        "a",
        "00",
        "01",
        "007",
        "-1",
        "+1",
        "1.",
        "0x1",
        " 1",
        "1 ",
        "1\n",
        "\u{ff11}",
        "99999999999999999999",
        "=",
        "0=1",
        &long,
    ];
    let fine: Texts = [Some("B A"), Some("1"), Some("2"), Some("1"), Some("2"), Some("A")];
    let mut states = Vec::new();
    for name in NAMES {
        for value in values {
            let mut env = Env::parse(&block(&fine)).unwrap();
            env.set(name, value).unwrap();
            states.push(with_bak(env.encode().to_vec()));
        }
    }
    assert_none(&disagreements(GRUB_CFG, &states, None));
}

/// Returns files that are no good environment, and some that are.
fn odd_files() -> Vec<(&'static str, EnvFile)> {
    let state = |order, a: u8, trial| BootState {
        order,
        a: grub_env::SlotState { ok: true, tries: a },
        trial,
        ..BootState::unknown()
    };
    let a_first = state_block(state([Slot::A, Slot::B], 4, None));
    let b_trial = state_block(state([Slot::B, Slot::A], 9, Some(Slot::B)));
    let spent = state_block(BootState {
        b: grub_env::SlotState { ok: false, tries: 0 },
        ..state([Slot::A, Slot::B], 9, None)
    });
    let raw = |text: &[u8]| {
        let mut bytes = b"# GRUB Environment Block\n".to_vec();
        bytes.extend(text);
        bytes.resize(Env::SIZE, b'#');
        bytes
    };
    let full = |padding: usize| {
        let mut text = b"ORDER=B A\nx=".to_vec();
        text.resize(Env::SIZE - 25 - 1 - padding, b'.');
        text.push(b'\n');
        raw(&text)
    };
    let mut torn = b_trial.clone();
    torn[40..512].fill(0xff);
    let mut unsigned = a_first.clone();
    unsigned[3] ^= 1;
    [
        ("missing", None),
        ("of no length", Some(vec![])),
        ("shorter than the signature", Some(b"# GRUB".to_vec())),
        ("only the signature", Some(raw(b""))),
        ("zeroes", Some(vec![0; Env::SIZE])),
        ("ones", Some(vec![0xff; Env::SIZE])),
        ("a bit of the signature wrong", Some(unsigned)),
        (
            "zeroes behind the \
            signature",
            Some([b"# GRUB Environment Block\n".as_slice(), &[0; 999]].concat()),
        ),
        ("torn in the first sector", Some(torn)),
        ("512 bytes", Some(a_first[..512].to_vec())),
        ("A committed", Some(a_first)),
        ("B on trial", Some(b_trial)),
        ("all tries used up", Some(spent)),
        ("full to the last byte", Some(full(0))),
        ("room for one byte less than a count", Some(full(7))),
        ("room for exactly one count", Some(full(8))),
        ("a TRY twice", Some(raw(b"ORDER=A B\nA_TRY=3\nB_TRY=1\nA_TRY=5\n"))),
        ("the other slot's TRY twice", Some(raw(b"ORDER=A B\nB_TRY=3\nA_TRY=1\nB_TRY=5\n"))),
        ("ORDER twice", Some(raw(b"ORDER=A B\nA_TRY=1\nORDER=B A\nB_TRY=5\n"))),
        ("no newline at the end", Some(raw(b"ORDER=B A\nA_TRY=1\nB_TRY=1"))),
        ("a line without =", Some(raw(b"ORDER=B A\nhello\nB_TRY=2\nA_TRY=1\n"))),
        ("a NUL in a value", Some(raw(b"ORDER=B A\0C\nB_TRY=2\0x\nA_TRY=1\n"))),
        ("a NUL in a name", Some(raw(b"ORDER=B A\nB_TRY\0x=2\nA_TRY=1\n"))),
        ("an escaped newline at the end", Some(raw(b"ORDER=B A\nA_TRY=1\nB_TRY=1\\\n"))),
        (
            "comments and strangers",
            Some(raw(b"# WARNING: Do not \
            edit\nprefix=/evil\nroot=hd9\nB_OK=0\ndaruma_loaded=1\ndaruma_env=x\nA_TRY=4\n")),
        ),
        ("an empty name", Some(raw(b"=x\nA_TRY=4\nORDER=B A\n"))),
    ]
    .map(|(name, bytes)| (name, bytes.map_or(EnvFile::Missing, EnvFile::Bytes)))
    .into()
}

#[test]
fn of_two_damaged_copies_grub_takes_the_one_that_choose_says() {
    let files = odd_files();
    let states: Vec<_> = files
        .iter()
        .flat_map(|(_, main)| {
            files.iter().map(|(_, bak)| EnvFiles { main: main.clone(), bak: bak.clone() })
        })
        .collect();
    assert_none(&disagreements(GRUB_CFG, &states, Some(0)));
    println!("grub-emu agreed with choose() in {} pairs of copies", states.len());
}

#[test]
fn a_boot_that_cannot_be_counted_is_not_the_same_for_ever() {
    let machine = Machine::new(GRUB_CFG, GOOD).unwrap();
    let b_trial =
        BootState { order: [Slot::B, Slot::A], trial: Some(Slot::B), ..BootState::unknown() };
    let mut full = Env::new();
    b_trial.apply_to(&mut full);
    full.unset("B_TRY");
    let mut full = full.encode();
    full[500..].fill(b'.');
    full[1023] = b'\n';
    let uncountable = [EnvFile::Missing, EnvFile::Bytes(vec![]), EnvFile::Bytes(full.to_vec())];
    let states = uncountable.map(|file| EnvFiles { main: file.clone(), bak: file });
    for minute in 0..60 {
        for (before, outcome) in states.iter().zip(machine.boot_at(&states, Some(minute)).unwrap())
        {
            let choice =
                choose(env(&before.main).as_ref(), env(&before.bak).as_ref(), Some(minute));
            assert_eq!(choice.copy, None);
            assert_eq!(
                disagreement(before, &choice, &outcome),
                None,
                "at minute {minute}: {}",
                outcome.screen
            );
        }
    }
}

#[test]
fn a_boot_image_that_does_not_load_costs_a_try_and_the_next_one_is_taken() {
    use BootImage::{CorruptArchive, CorruptKernel, Empty, Good, NoInitrd};
    let states: Vec<_> = every_state().into_iter().step_by(401).collect();
    for a in [Good, NoInitrd, CorruptKernel, CorruptArchive, Empty] {
        for b in [Good, CorruptKernel, CorruptArchive] {
            for recovery in [Good, Empty] {
                let files: Vec<_> = states.iter().map(|texts| with_bak(block(texts))).collect();
                let outcomes = boot_all(GRUB_CFG, [a, b, recovery], &files, None).unwrap();
                for (texts, outcome) in states.iter().zip(outcomes) {
                    let before = BootState::from_env(&Env::parse(&block(texts)).unwrap());
                    let mut expected = before.select_unless(|slot| {
                        !matches!([a, b][slot as usize], Good | CorruptArchive)
                    });
                    // The boot image that recovery starts from.
                    let from = [("recovery", recovery), ("A", a), ("B", b)];
                    let from = from.iter().find(|(_, image)| *image == Good).map(|(name, _)| *name);
                    let (started, from) = match (expected.slot, from) {
                        (Some(slot), _) => (Some(slot.name()), Some(slot.name())),
                        (None, Some(from)) => (Some("recovery"), Some(from)),
                        (None, None) => {
                            expected.after.reset_tries();
                            (None, None)
                        }
                    };
                    let case =
                        format!("{texts:?} with {a:?} {b:?} {recovery:?}: {}", outcome.screen);
                    assert_eq!(outcome.slot(), started, "{case}");
                    let verity = from.map(|from| format!("hash-{from}:salt:1"));
                    assert_eq!(outcome.argument("daruma.verity"), verity.as_deref(), "{case}");
                    assert_eq!(outcome.with_archive, started == Some("recovery"), "{case}");
                    let leaked =
                        outcome.command_line.iter().flatten().any(|word| word == "console=ttyS0");
                    assert!(!leaked || from == Some("A"), "daruma_args of A: {case}");
                    assert_eq!(
                        BootState::from_env(&env(&outcome.files.main).unwrap()),
                        expected.after,
                        "{case}"
                    );
                }
            }
        }
    }
}

/// Returns `grub.cfg` as if a person pressed ESC at every request for a key.
fn with_key_pressed() -> String {
    let asks = "if sleep --interruptible $daruma_wait; then return 1; fi";
    assert!(GRUB_CFG.contains(asks), "{asks:?} is not in grub.cfg any more");
    GRUB_CFG.replace(asks, "sleep --interruptible $daruma_wait")
}

#[test]
fn a_key_starts_recovery_after_a_boot_that_was_not_healthy_and_is_not_asked_for_otherwise() {
    let states: Vec<_> = every_state().into_iter().step_by(97).collect();
    let files: Vec<_> = states.iter().map(|texts| with_bak(block(texts))).collect();
    let outcomes = boot_all(&with_key_pressed(), GOOD, &files, None).unwrap();
    let mut asked = 0;
    for ((texts, before), outcome) in states.iter().zip(&files).zip(outcomes) {
        let case = format!("{texts:?}: {}", outcome.screen);
        let first = if texts[0] == Some("B A") { texts[4] } else { texts[2] };
        if first == Some("0") {
            let choice = choose(env(&before.main).as_ref(), env(&before.bak).as_ref(), None);
            assert_eq!(disagreement(before, &choice, &outcome), None, "{case}");
        } else {
            asked += 1;
            assert_eq!((outcome.slot(), outcome.with_archive), (Some("recovery"), true), "{case}");
            // GRUB counts no try, because a person is there. It saves only the time.
            let booted = outcome.argument("daruma.booted").unwrap();
            let noted = env(&before.main).unwrap().saved_by_grub(BOOTED, booted);
            assert_eq!(env(&outcome.files.main), noted, "{case}");
        }
    }
    assert!(asked > 100 && asked < states.len(), "{asked} of {}", states.len());
}

#[test]
fn a_key_cannot_keep_a_device_without_recovery_from_booting() {
    let images = [BootImage::CorruptArchive, BootImage::CorruptArchive, BootImage::Empty];
    let machine = Machine::new(&with_key_pressed(), images).unwrap();
    let state = BootState { a: grub_env::SlotState { ok: true, tries: 4 }, ..BootState::unknown() };
    let outcome = machine.boot(&[with_bak(state_block(state))]).unwrap().remove(0);
    assert_eq!(
        (outcome.slot(), outcome.argument("daruma.try")),
        (Some("A"), Some("5")),
        "{}",
        outcome.screen
    );
}

#[test]
fn a_broken_way_into_recovery_is_caught() {
    use BootImage::{CorruptArchive, CorruptKernel, Empty, Good};
    let spent = BootState { a: grub_env::SlotState { ok: true, tries: 9 }, ..BootState::factory() };
    // The state of each boot image, and the image that recovery must start from.
    let cases = [
        ([Good, Good, Good], Some("recovery")),
        ([Good, Good, CorruptArchive], Some("A")),
        ([CorruptKernel, Good, Empty], Some("B")),
        ([CorruptArchive, CorruptKernel, CorruptArchive], None),
    ];
    let is_right = |grub_cfg: &str| {
        cases.iter().all(|(images, from)| {
            let machine = Machine::new(grub_cfg, *images).unwrap();
            let outcome = machine.boot(&[with_bak(state_block(spent))]).unwrap().remove(0);
            let verity = from.map(|from| format!("hash-{from}:salt:1"));
            outcome.argument("daruma.verity") == verity.as_deref()
                && outcome.with_archive == from.is_some()
        })
    };
    assert!(is_right(GRUB_CFG));
    for (from, to) in [
        ("for daruma_part in gpt7 gpt3 gpt5;", "for daruma_part in gpt7 gpt3;"),
        ("for daruma_part in gpt7 gpt3 gpt5;", "for daruma_part in gpt3 gpt7 gpt5;"),
        (
            "set daruma_sums=\"$daruma_image/RECOVERY.SHA256SUMS\"",
            "set daruma_sums=\"$daruma_image/SHA256SUMS\"",
        ),
        (" \"$daruma_image/recovery.img\"", ""),
        ("\"$daruma_image/initrd\" $4;", "\"$daruma_image/initrd\";"),
    ] {
        assert!(
            GRUB_CFG.contains(from),
            "{from:?} is not in grub.cfg any more: choose another mutation"
        );
        assert!(
            !is_right(&GRUB_CFG.replacen(from, to, 1)),
            "nothing noticed {to:?} in the place of {from:?}"
        );
    }
}

#[test]
fn with_every_boot_image_broken_grub_comes_back_to_all_its_tries() {
    let machine =
        Machine::new(GRUB_CFG, [BootImage::CorruptKernel, BootImage::Empty, BootImage::Empty])
            .unwrap();
    let mut files = with_bak(state_block(BootState {
        a: grub_env::SlotState { ok: false, tries: 0 },
        ..BootState::factory()
    }));
    for _ in 0..12 {
        let outcome = machine.boot(&[files]).unwrap().remove(0);
        assert_eq!(outcome.slot(), None);
        assert!(outcome.screen.contains("trying again"), "{}", outcome.screen);
        files = outcome.files;
    }
    let state = BootState::from_env(&env(&files.main).unwrap());
    assert_eq!((state.a, state.b), (BootState::unknown().a, BootState::unknown().b));
}

#[test]
fn a_broken_grub_cfg_is_caught() {
    let mutations = [
        ("set daruma_limit=3", "set daruma_limit=9"),
        ("set daruma_limit=9", "set daruma_limit=3"),
        ("if [ \"$3\" = 0 ]", "if [ \"$3\" != 1 ]"),
        ("[ \"$ORDER\" = \"B A\" ]", "[ \"$ORDER\" != \"A B\" ]"),
        (
            "elif [ \"$4\" = 2 ]; then set daruma_try=3",
            "elif [ \"$4\" = 2 ]; then set daruma_try=2",
        ),
        (
            "elif [ \"$4\" = 8 ]; then set daruma_try=9",
            "elif [ \"$4\" = 8 ]; then set daruma_try=0",
        ),
        ("'^[0-9]+$'", "'^[0-9]$'"),
        ("if [ \"$TRIAL\" = \"$1\" ]", "if [ -n \"$TRIAL\" ]"),
        ("daruma_slot B gpt5 \"$B_OK\" \"$B_TRY\"", "daruma_slot B gpt3 \"$B_OK\" \"$B_TRY\""),
        ("daruma_slot B gpt5 \"$B_OK\" \"$B_TRY\"", "daruma_slot B gpt5 \"$B_OK\" \"$A_TRY\""),
        ("if daruma_save \"${1}_TRY\"; then", "if true; then"),
        ("$1 BOOTED; then return 0; fi", "$1; then return 0; fi"),
        ("set daruma_booted=\"daruma.booted=$BOOTED\"", "true"),
        ("probe --set=daruma_guid", "probe --set=daruma_other"),
        ("daruma_counted grubenv\n", "daruma_counted grubenv.bak\n"),
        ("$daruma_first\n", "$daruma_second\n"),
        ("set daruma_trial=\"\"", "true"),
    ];
    let states: Vec<_> =
        every_state().iter().step_by(211).map(|texts| with_bak(block(texts))).collect();
    assert_none(&disagreements(GRUB_CFG, &states, None));
    for (from, to) in mutations {
        assert!(
            GRUB_CFG.contains(from),
            "{from:?} is not in grub.cfg any more: choose another mutation"
        );
        let broken = GRUB_CFG.replacen(from, to, 1);
        assert!(
            !disagreements(&broken, &states, None).is_empty(),
            "nothing noticed {to:?} in the place of {from:?}"
        );
    }
}

/// A device whose power fails again and again, after GRUB and before the health checks.
struct Device {
    machine: Machine,
    files: EnvFiles,
}

impl Device {
    fn new(state: BootState) -> Self {
        let block = EnvFile::Bytes(state_block(state));
        Self {
            machine: Machine::new(GRUB_CFG, GOOD).unwrap(),
            files: EnvFiles { main: block.clone(), bak: block },
        }
    }

    fn state(&self) -> BootState {
        BootState::from_env(&env(&self.files.main).unwrap())
    }

    /// Boots up to the kernel. Returns the name of the system that GRUB started.
    fn boot(&mut self) -> String {
        let outcome = self.machine.boot(std::slice::from_ref(&self.files)).unwrap().remove(0);
        let slot = outcome.slot().unwrap().to_owned();
        self.files = outcome.files;
        slot
    }

    fn boots(&mut self, times: usize) -> Vec<String> {
        (0..times).map(|_| self.boot()).collect()
    }

    /// Changes the state and writes both copies, as an agent or daruma-init does.
    fn change(&mut self, change: impl FnOnce(&mut BootState)) {
        let mut state = self.state();
        change(&mut state);
        let mut block = env(&self.files.main).unwrap();
        state.apply_to(&mut block);
        let block = EnvFile::Bytes(block.encode().to_vec());
        self.files = EnvFiles { main: block.clone(), bak: block };
    }
}

#[test]
fn power_cuts_leave_a_committed_slot_after_nine_boots_and_one_on_trial_after_three() {
    // A is committed. B holds an older, good system.
    let mut device = Device::new(BootState::unknown());
    assert_eq!(device.boots(8), ["A"; 8]);
    // After one healthy boot the count starts again.
    assert_eq!(device.boot(), "A");
    device.change(|state| state.mark_good(Slot::A));
    assert_eq!(device.boots(9), ["A"; 9]);
    assert_eq!(device.boot(), "B", "nine boots in a row were never healthy");
    device.change(|state| {
        state.fell_back(Slot::B);
        state.mark_good(Slot::B);
    });
    // An update into A boots three times. Then GRUB boots B again.
    device.change(|state| state.begin_install(Slot::A).unwrap());
    assert_eq!(device.boot(), "B", "a cut in the middle of an install");
    device.change(|state| state.begin_trial(Slot::A).unwrap());
    assert_eq!(device.boots(3), ["A"; 3]);
    assert_eq!(
        device.boots(8),
        ["B"; 8],
        "B was healthy, then not, twice: one boot of nine was used before"
    );
    // Nobody marked A bad. Now only recovery is left, and recovery gives all tries back.
    assert_eq!(device.boots(2), ["recovery"; 2]);
    device.change(BootState::reset_tries);
    assert_eq!(device.boots(3), ["A"; 3]);
    assert_eq!(device.boots(9), ["B"; 9]);
    assert_eq!(device.boot(), "recovery");
}
