//! Reads and writes the GRUB environment for `daruma-init`.
//!
//! The crate `grub-env` does the work. `daruma-init` writes the environment after a failed boot, in
//! recovery, and at the end of a factory reset.

use std::path::Path;

use anyhow::{Context, Result};
use grub_env::{BootState, COMMITTED_TRIES, Env};
use image_layout::{FileDisk, Slot};

/// Opens the EFI system partition, without mounting it.
pub(crate) fn open_esp(device: &Path) -> Result<FileDisk> {
    FileDisk::open(device).with_context(|| format!("opening {}", device.display()))
}

/// Returns `env` with this boot of `slot` counted as a failure. GRUB said that it is try `attempt`,
/// and the copy that survived may not know that.
pub(crate) fn with_failure(mut env: Env, slot: Slot, attempt: u32) -> Env {
    let mut state = BootState::from_env(&env);
    let counted = match slot {
        Slot::A => &mut state.a,
        Slot::B => &mut state.b,
    };
    let attempt = u8::try_from(attempt).unwrap_or(COMMITTED_TRIES);
    counted.tries = counted.tries.max(attempt).clamp(1, COMMITTED_TRIES);
    state.apply_to(&mut env);
    env
}

/// Returns `env` with all tries given back.
pub(crate) fn with_tries_reset(mut env: Env) -> Env {
    let mut state = BootState::from_env(&env);
    state.reset_tries();
    state.apply_to(&mut env);
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_environment_counts_the_failure_that_grub_could_not() {
        for (attempt, tries) in [(0, 1), (1, 1), (2, 2), (9, 9), (1000, 9)] {
            let state = BootState::from_env(&with_failure(Env::new(), Slot::B, attempt));
            assert_eq!((state.b.tries, state.a.tries), (tries, 0), "try {attempt}");
        }
    }

    #[test]
    fn a_surviving_copy_keeps_its_higher_count() {
        let mut env = Env::new();
        let mut state = BootState::factory();
        state.a.tries = 5;
        state.apply_to(&mut env);
        assert_eq!(BootState::from_env(&with_failure(env, Slot::A, 2)).a.tries, 5);
    }

    #[test]
    fn recovery_gives_both_slots_their_tries_back() {
        let mut env = Env::new();
        let mut state = BootState::factory();
        (state.a.tries, state.b.tries, state.trial) = (9, 3, Some(Slot::B));
        state.apply_to(&mut env);
        let after = BootState::from_env(&with_tries_reset(env));
        assert_eq!((after.a.tries, after.b.tries), (0, 0));
    }
}
