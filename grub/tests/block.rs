//! The environment block is compared with itself and with Debian's `grub-editenv`.

#![allow(clippy::unwrap_used)] // A test may; clippy does not know its helper functions for one.

use std::fs;
use std::path::Path;
use std::process::Command;

use grub_env::{BootState, Env, EnvError, SlotState};
use image_layout::Slot;
use proptest::prelude::*;

fn any_state() -> impl Strategy<Value = BootState> {
    let slot = || (any::<bool>(), 0..=9_u8).prop_map(|(ok, tries)| SlotState { ok, tries });
    let trial = prop_oneof![Just(None), Just(Some(Slot::A)), Just(Some(Slot::B))];
    (any::<bool>(), slot(), slot(), trial).prop_map(|(b_first, a, b, trial)| BootState {
        order: if b_first { [Slot::B, Slot::A] } else { [Slot::A, Slot::B] },
        a,
        b,
        trial,
    })
}

/// Makes 1,024 bytes behind GRUB's signature that look like a block often enough to get somewhere.
fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 999),
        "([A-Z_]{0,6}=[ -~]{0,9}\n|#[a-z=]{0,9}\n|\\\\|ORDER=B A\n|A_TRY=[0-9]\n|B_OK=0\n){0,60}"
            .prop_map(String::into_bytes),
    ];
    bytes.prop_map(|bytes| {
        let mut block = b"# GRUB Environment Block\n".to_vec();
        block.extend(bytes);
        block.resize(Env::SIZE, b'#');
        block
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_parsed_is_encoded_to_the_same_bytes(block in any_block()) {
        let env = Env::parse(&block).unwrap();
        prop_assert_eq!(env.encode().to_vec(), block);
        let _any = env.flaws();
    }

    #[test]
    fn a_state_survives_any_block_and_stays_in_the_first_sector(
        block in any_block(),
        state in any_state(),
    ) {
        let mut env = Env::parse(&block).unwrap();
        state.apply_to(&mut env);
        prop_assert_eq!(BootState::from_env(&env), state);
        prop_assert_eq!(env.flaws(), Vec::<String>::new());
        let mut torn = env.encode();
        torn[Env::ATOMIC..].fill(0xff);
        prop_assert_eq!(BootState::from_env(&Env::parse(&torn).unwrap()), state);
    }

    #[test]
    fn set_and_get_agree_and_leave_the_others_alone(
        block in any_block(),
        value in "[ -~\n]{0,40}",
    ) {
        let mut env = Env::parse(&block).unwrap();
        let others = |env: &Env| {
            let others = env.variables().into_iter().filter(|(name, _)| name != "TRIAL");
            others.collect::<Vec<_>>()
        };
        let before = env.clone();
        match env.set("TRIAL", &value) {
            Ok(()) => {
                prop_assert_eq!(env.get("TRIAL"), Some(value));
                prop_assert_eq!(others(&env), others(&before));
            }
            Err(_) => prop_assert_eq!(env, before),
        }
    }
}

#[test]
fn a_change_keeps_the_order_and_what_others_wrote() {
    let mut block = b"# GRUB Environment Block\n# WARNING: Do not edit\nsaved_entry=0\nORDER=A \
        B\nA_OK=1\nkernelopts=a\\\\b\n"
        .to_vec();
    block.resize(Env::SIZE, b'#');
    let mut env = Env::parse(&block).unwrap();
    assert_eq!(env.get("kernelopts").as_deref(), Some("a\\b"));
    BootState::factory().apply_to(&mut env);
    let text = String::from_utf8(env.encode().to_vec()).unwrap();
    let expected = "# GRUB Environment Block\n# WARNING: Do not edit\nsaved_entry=0\nORDER=A \
        B\nA_OK=1\nkernelopts=a\\\\b\nA_TRY=0\nB_OK=0\nB_TRY=0\nTRIAL=\n";
    assert_eq!(text.trim_end_matches('#'), expected);
}

#[test]
fn what_does_not_fit_in_the_first_sector_is_refused() {
    let mut env = Env::new();
    env.set("x", &"y".repeat(Env::ATOMIC - 25 - 3)).unwrap();
    let before = env.clone();
    assert!(matches!(env.set("ORDER", "A B"), Err(EnvError::Full(name)) if name == "ORDER"));
    assert!(matches!(env.set("x", &"y".repeat(500)), Err(EnvError::Full(_))));
    assert!(matches!(env.set("a=b", ""), Err(EnvError::Unwritable(_))));
    assert_eq!(env, before);
    // The boot state is worth more than a stranger's variable.
    BootState::factory().apply_to(&mut env);
    assert_eq!((BootState::from_env(&env), env.get("x")), (BootState::factory(), None));
}

/// To `load_env` this is one variable with a newline in its name. `save_env` finds `A_TRY` in its
/// second line.
#[test]
fn a_broken_line_cannot_hide_the_count_from_grub() {
    let mut block = b"# GRUB Environment Block\n\\#\nA_TRY=0\n".to_vec();
    block.resize(Env::SIZE, b'#');
    let mut env = Env::parse(&block).unwrap();
    assert!(env.saved_by_grub("A_TRY", "1").is_none());
    BootState::factory().apply_to(&mut env);
    assert_eq!(env.flaws(), Vec::<String>::new());
}

#[test]
fn a_block_of_another_size_or_signature_is_refused() {
    assert!(matches!(Env::parse(&[b'#'; 1023]), Err(EnvError::Size(1023))));
    assert!(matches!(Env::parse(&[]), Err(EnvError::Size(0))));
    assert!(matches!(Env::parse(&[b'#'; 1024]), Err(EnvError::Signature)));
}

fn editenv(file: &Path, arguments: &[&str]) -> String {
    let out = Command::new("grub-editenv").arg(file).args(arguments).output();
    let out = out.expect("grub-editenv does not start: install the package grub-common");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn grub_editenv_reads_what_is_written_here() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("grubenv");
    let mut env = Env::new();
    BootState { trial: Some(Slot::B), ..BootState::factory() }.apply_to(&mut env);
    env.set("note", "a \\ and a # and ä").unwrap();
    fs::write(&file, env.encode()).unwrap();
    let list = "ORDER=A B\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=0\nTRIAL=B\nnote=a \\ and a # and ä\n";
    assert_eq!(editenv(&file, &["list"]), list);
    // Both programs make the same bytes of the same change.
    env.set("A_TRY", "1").unwrap();
    env.set("TRIAL", "").unwrap();
    env.set("new", "12").unwrap();
    env.unset("note");
    editenv(&file, &["set", "A_TRY=1", "TRIAL=", "new=12"]);
    editenv(&file, &["unset", "note"]);
    assert_eq!(fs::read(&file).unwrap(), env.encode());
}

#[test]
fn what_grub_editenv_writes_is_read_here() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("grubenv");
    editenv(&file, &["create"]);
    assert_eq!(
        BootState::from_env(&Env::parse(&fs::read(&file).unwrap()).unwrap()),
        BootState::unknown()
    );
    editenv(
        &file,
        &["set", "ORDER=B A", "A_OK=0", "A_TRY=4", "B_OK=1", "B_TRY=2", "TRIAL=B", "note=a \\ b"],
    );
    let env = Env::parse(&fs::read(&file).unwrap()).unwrap();
    let expected = BootState {
        order: [Slot::B, Slot::A],
        a: SlotState { ok: false, tries: 4 },
        b: SlotState { ok: true, tries: 2 },
        trial: Some(Slot::B),
    };
    assert_eq!((BootState::from_env(&env), env.get("note").as_deref()), (expected, Some("a \\ b")));
    assert_eq!(env.flaws(), Vec::<String>::new());
}
