//! Recovery's part of the boot state, in every state there is.

// A test that unwraps says where it failed.
#![allow(clippy::unwrap_used)]

use grub_env::{BootState, COMMITTED_TRIES, SlotState, TRIAL_TRIES};
use image_layout::Slot;

/// Returns every state, with every answer to "are the images of A, of B whole".
fn everything() -> Vec<(BootState, [bool; 2])> {
    let mut all = Vec::new();
    for order in [[Slot::A, Slot::B], [Slot::B, Slot::A]] {
        for trial in [None, Some(Slot::A), Some(Slot::B)] {
            for bits in 0..16 {
                for a_tries in 0..=COMMITTED_TRIES {
                    for b_tries in 0..=COMMITTED_TRIES {
                        let bit = |number: u8| bits & (1 << number) != 0;
                        let a = SlotState { ok: bit(0), tries: a_tries };
                        let b = SlotState { ok: bit(1), tries: b_tries };
                        all.push((BootState { order, a, b, trial }, [bit(2), bit(3)]));
                    }
                }
            }
        }
    }
    all
}

fn whole(is_whole: [bool; 2], slot: Slot) -> bool {
    is_whole[usize::from(slot == Slot::B)]
}

/// Returns true for a committed slot whose images are whole and that GRUB would still boot.
fn is_good(state: &BootState, is_whole: [bool; 2], slot: Slot) -> bool {
    whole(is_whole, slot) && state.may_boot(slot) && state.trial != Some(slot)
}

#[test]
fn a_good_slot_is_never_overwritten_while_the_other_one_is_not_good() {
    let mut judged = 0;
    for (state, is_whole) in everything() {
        let target = state.recovery_target(is_whole);
        if is_good(&state, is_whole, target) {
            assert!(is_good(&state, is_whole, !target), "{state:?} {is_whole:?} {target}");
            judged += 1;
        }
        // The only whole slot is not overwritten either, however few tries it has left.
        assert!(!whole(is_whole, target) || whole(is_whole, !target), "{state:?} {is_whole:?}");
    }
    assert!(judged > 0);
}

#[test]
fn during_the_install_nothing_but_the_other_slot_boots_and_after_it_the_new_one_does() {
    for (before, is_whole) in everything() {
        let target = before.recovery_target(is_whole);
        let mut state = before;
        state.begin_recovery(target);
        let case = format!("{before:?} {is_whole:?} {target}: {state:?}");
        assert!(!state.may_boot(target) && state.trial.is_none(), "{case}");
        let given_up = before.trial == Some(!target) && before.slot(!target).tries >= TRIAL_TRIES;
        if given_up || !before.slot(!target).ok {
            assert_eq!(state.select().slot, None, "{case}");
        } else {
            assert_eq!(state.slot(!target), before.slot(!target), "{case}");
        }
        // After a cut the next recovery goes on with the same slot, unless the other slot is no
        // better.
        let cut = state.select().after;
        assert!(cut.recovery_target([true, true]) == target || !cut.slot(!target).ok, "{case}");

        state.begin_trial(target).unwrap();
        let selection = state.select();
        assert_eq!((selection.slot, state.trial), (Some(target), Some(target)), "{case}");
        assert_eq!((state.slot(target).tries, state.limit(target)), (0, TRIAL_TRIES), "{case}");
        // The slot becomes healthy, so it is committed like any update.
        state.mark_good(target);
        assert_eq!((state.trial, state.slot(target).ok), (None, true));
    }
}
