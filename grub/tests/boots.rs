//! The life of a device in boots: GRUB's choice, power cuts, health, installs.
//!
//! Everything is pure here. `tests/tests/grub_emu.rs` does the same with the real `grub.cfg`.

#![allow(clippy::unwrap_used)] // A test may; clippy does not know its helper functions for one.

use grub_env::{BootState, COMMITTED_TRIES, Env, SlotState, TRIAL_TRIES, TransitionError, choose};
use image_layout::Slot;

/// Cuts the power in boots before they are healthy. Returns what was started, one after the other
/// (`None` is recovery).
fn cut_boots(state: &mut BootState, times: usize) -> Vec<Option<Slot>> {
    let boot = |_| {
        let selection = state.select();
        *state = selection.after;
        selection.slot
    };
    (0..times).map(boot).collect()
}

fn all_states() -> Vec<BootState> {
    let mut states = Vec::new();
    let slots = || {
        [false, true]
            .into_iter()
            .flat_map(|ok| (0..=COMMITTED_TRIES).map(move |tries| SlotState { ok, tries }))
    };
    for a in slots() {
        for b in slots() {
            for trial in [None, Some(Slot::A), Some(Slot::B)] {
                for first in Slot::ALL {
                    states.push(BootState { order: [first, !first], a, b, trial });
                }
            }
        }
    }
    states
}

#[test]
fn a_committed_slot_is_left_only_after_nine_boots_in_a_row_that_were_never_healthy() {
    let mut state = BootState::unknown();
    for unhealthy in 0..COMMITTED_TRIES as usize {
        assert_eq!(cut_boots(&mut state, unhealthy), vec![Some(Slot::A); unhealthy]);
        assert_eq!(state.select().slot, Some(Slot::A));
        // One healthy boot starts the count anew.
        state = state.select().after;
        state.mark_good(Slot::A);
    }
    assert_eq!(cut_boots(&mut state, 9), [Some(Slot::A); 9]);
    assert_eq!(cut_boots(&mut state, 9), [Some(Slot::B); 9]);
    assert_eq!(cut_boots(&mut state, 1), [None]);
}

#[test]
fn a_slot_on_trial_is_left_after_three_boots() {
    let mut state = BootState::factory();
    state.begin_trial(Slot::B).unwrap();
    assert_eq!(cut_boots(&mut state, 3), [Some(Slot::B); TRIAL_TRIES as usize]);
    assert_eq!(cut_boots(&mut state, 1), [Some(Slot::A)]);
    state.fell_back(Slot::A);
    state.mark_good(Slot::A);
    assert_eq!(state, BootState::factory());
}

#[test]
fn with_both_slots_used_up_recovery_gives_all_tries_back() {
    let mut state = BootState::factory();
    state.begin_trial(Slot::B).unwrap();
    let first = cut_boots(&mut state, 3 + 9);
    assert_eq!(cut_boots(&mut state, 3), [None; 3]);
    state.reset_tries();
    assert_eq!(cut_boots(&mut state, 12), first);
    state.reset_tries();
    state = state.select().after;
    state.mark_good(Slot::B);
    assert_eq!((state.trial, state.select().slot), (None, Some(Slot::B)));
}

#[test]
fn no_state_leads_nowhere_and_every_boot_changes_something() {
    for state in all_states() {
        let mut now = state;
        let mut boots = 0;
        while let Some(slot) = now.select().slot {
            let after = now.select().after;
            assert_eq!(after.slot(slot).tries, now.slot(slot).tries + 1, "{now:?} is not counted");
            now = after;
            boots += 1;
            assert!(boots <= 18, "{state:?} never comes to recovery");
        }
        now.reset_tries();
        assert!(now.select().slot.is_some(), "{state:?} does not come back from recovery");
        // The block says what the state means.
        let mut env = Env::new();
        state.apply_to(&mut env);
        assert_eq!(BootState::from_env(&env), state);
    }
}

#[test]
fn no_move_takes_the_last_bootable_slot_and_none_makes_an_unproven_slot_the_fallback() {
    for state in all_states() {
        for slot in Slot::ALL {
            type Move = fn(&mut BootState, Slot) -> Result<(), TransitionError>;
            let moves: [(&str, Move); 4] = [
                ("begin_install", BootState::begin_install),
                ("begin_trial", BootState::begin_trial),
                ("mark_bad", BootState::mark_bad),
                ("roll_back", BootState::roll_back),
            ];
            for (name, make) in moves {
                let mut after = state;
                if make(&mut after, slot).is_err() {
                    assert_eq!(after, state, "{name} failed and changed something");
                    continue;
                }
                let bootable = |state: &BootState| {
                    Slot::ALL.into_iter().filter(|slot| state.slot(*slot).ok).count()
                };
                assert!(
                    bootable(&after) > 0 || bootable(&state) == 0,
                    "{name} {slot} took the last slot of {state:?}"
                );
                if let Some(trial) = after.trial {
                    assert!(
                        state.trial.is_none_or(|before| before == trial),
                        "{name} {slot} left {state:?} without a proven slot"
                    );
                }
            }
        }
    }
}

#[test]
fn a_cut_after_any_step_of_an_install_boots_a_whole_system() {
    let running = Slot::A;
    let mut steps = vec![("idle", BootState::unknown())];
    let mut state = BootState::unknown();
    state.begin_install(Slot::B).unwrap();
    steps.push(("marked", state));
    state.begin_trial(Slot::B).unwrap();
    steps.push(("flipped", state));
    for pair in steps.windows(2) {
        let [(_, old), (name, new)] = pair else { unreachable!() };
        // The second copy is written first. A cut between the two leaves them apart, and GRUB uses
        // the first.
        let block = |state: &BootState| {
            let mut env = Env::new();
            state.apply_to(&mut env);
            env
        };
        let between = choose(Some(&block(old)), Some(&block(new)), None).selection.slot;
        assert_eq!(between, Some(running), "between the two writes of {name}");
        let expected = if *name == "flipped" { Slot::B } else { running };
        assert_eq!(new.select().slot, Some(expected));
        // B is half-written until the flip, so no order of events may try B.
        if *name == "marked" {
            assert!(!cut_boots(&mut new.clone(), 30).contains(&Some(Slot::B)));
        }
    }
}

#[test]
fn while_a_slot_is_on_trial_nothing_overwrites_the_proven_one() {
    let mut state = BootState::factory();
    state.begin_trial(Slot::B).unwrap();
    assert_eq!(state.begin_install(Slot::A), Err(TransitionError::OnTrial(Slot::B)));
    assert_eq!(state.roll_back(Slot::B), Err(TransitionError::OnTrial(Slot::B)));
    // The device has fallen back to A, or has not rebooted yet. So B may be written again.
    assert_eq!(state.clone().begin_install(Slot::B), Ok(()));
    state.mark_bad(Slot::B).unwrap();
    assert_eq!(state, BootState::factory());
    assert_eq!(state.roll_back(Slot::A), Err(TransitionError::NothingThere(Slot::B)));
    assert_eq!(state.mark_bad(Slot::A), Err(TransitionError::OnlyGood(Slot::A)));
    assert_eq!(state.begin_install(Slot::A), Err(TransitionError::OnlyGood(Slot::A)));
    state.mark_good(Slot::B);
    assert_eq!(state.begin_trial(Slot::B), Err(TransitionError::NotPrepared(Slot::B)));
    state.roll_back(Slot::A).unwrap();
    assert_eq!((state.trial, state.select().slot), (Some(Slot::B), Some(Slot::B)));
}

#[test]
fn a_boot_that_nothing_counts_differs_by_the_clock() {
    let slots: Vec<_> =
        (0..60).map(|minute| choose(None, None, Some(minute)).selection.slot).collect();
    let count = |slot| slots.iter().filter(|&&other| other == slot).count();
    assert_eq!((count(Some(Slot::A)), count(Some(Slot::B)), count(None)), (54, 5, 1));
    assert_eq!(choose(None, None, None).selection.slot, Some(Slot::A));
}
