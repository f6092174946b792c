//! Settles the state at the start of a boot, before any health check.
//!
//! `verdict` judges the boot afterwards. This file heals a damaged environment. It also recognises
//! a fall-back, reports it and marks the failed slot bad.

use grub_env::{BootState, COMMITTED_TRIES, TRIAL_TRIES};
use image_layout::Slot;

use crate::console::warn;
use crate::device::Device;
use crate::device::esp::environment::Environment;
use crate::exit::Failure;
use crate::status::init_report;
use crate::status::state::{Kind, State};
use crate::status::state_file::StateFile;

/// Returns true if the other slot should have booted and did not.
///
/// GRUB counts a try *before* it loads anything. So the other slot was given up if it is first in
/// the order and has a try. Its tries are used up, or its kernel could not be loaded. Without a try
/// it waits for its first boot, after an install or a roll-back.
#[must_use]
pub(crate) fn was_given_up(state: &BootState, running: Slot) -> bool {
    let other = !running;
    state.order[0] == other && state.slot(other).ok && state.slot(other).tries > 0
}

/// Settles all with one write of the state and one of the environment. Returns the report of a
/// fall-back. Errors of the state are printed and do not count. The caller holds the lock.
///
/// # Errors
/// The environment cannot be read or written.
pub fn settle(device: &Device) -> Result<Option<String>, Failure> {
    let running = device.running()?;
    let mut environment = Environment::load(device)?;
    let state_file = StateFile::of(device);
    let (mut state, complaint) = state_file.load();
    if let Some(complaint) = complaint {
        warn(complaint);
    }
    let before = state.clone();
    let took_failures = init_report::take_failures(device, &mut state);
    if !environment.damage().is_empty() {
        let damage = environment.damage().join("; ");
        warn(format_args!("the boot environment was damaged and is rebuilt: {damage}"));
        state.record(Kind::EnvironmentHealed, running, None, damage);
    }
    let mut boot = environment.state();
    let mut report = None;
    if was_given_up(&boot, running) {
        report = Some(report_fall_back(device, &mut state, &boot, running));
        boot.fell_back(running);
    }
    // The state is written first. A cut after it only tells the story twice. In the other order a
    // cut would lose the reason, and with it the quarantine.
    let mut stored = true;
    if state != before
        && let Err(complaint) = state_file.store(&state)
    {
        warn(complaint);
        stored = false;
    }
    if took_failures && stored {
        init_report::forget_failures(device);
    }
    environment.write(&boot)?;
    Ok(report)
}

fn report_fall_back(device: &Device, state: &mut State, boot: &BootState, running: Slot) -> String {
    let failed = !running;
    let tries = boot.slot(failed).tries;
    let limit = if boot.trial == Some(failed) { TRIAL_TRIES } else { COMMITTED_TRIES };
    let version = device.slot_config(failed).ok().map(|config| config.version);
    let failures = state.failures(failed);
    let cause = match failures.last() {
        Some(last) if failures.len() > 1 => {
            format!("{} (the last of {} failures)", last.reason, failures.len())
        }
        Some(last) => last.reason.clone(),
        None if tries < limit => "GRUB could not load its boot image".to_owned(),
        None => "the system never reached its health checks".to_owned(),
    };
    let boots = if tries == 1 { "1 boot".to_owned() } else { format!("{tries} boots") };
    let reason = format!("not healthy after {boots}: {cause}");
    let quarantined = state.quarantine(failed, &reason).is_some();
    state.owe_report(failed, true);
    let what = match &version {
        Some(version) => format!("slot {failed} ({version})"),
        None => format!("slot {failed}"),
    };
    let reason = if quarantined {
        reason
    } else {
        format!(
            "{reason}; the manifest of the failed system is not known, so no bundle is put \
            into quarantine"
        )
    };
    state.record(Kind::FellBack, failed, version.as_ref(), reason.clone());
    format!("fell back from {what} to slot {running}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boots `times` times as GRUB does.
    fn boots(mut state: BootState, times: usize) -> (BootState, Option<Slot>) {
        let mut slot = None;
        for _ in 0..times {
            let selection = state.select();
            state = selection.after;
            slot = selection.slot;
        }
        (state, slot)
    }

    fn with_trial() -> BootState {
        let mut state = BootState::factory();
        state.begin_install(Slot::B).unwrap();
        state.begin_trial(Slot::B).unwrap();
        state
    }

    #[test]
    fn a_trial_that_waits_for_its_first_boot_is_no_fall_back() {
        assert!(!was_given_up(&with_trial(), Slot::A));
    }

    #[test]
    fn a_trial_that_used_up_its_tries_is_a_fall_back() {
        let (state, slot) = boots(with_trial(), 4);
        assert_eq!(slot, Some(Slot::A));
        assert!(was_given_up(&state, Slot::A));
    }

    #[test]
    fn a_trial_whose_kernel_does_not_load_is_a_fall_back_at_once() {
        let selection = with_trial().select_unless(|slot| slot == Slot::B);
        assert_eq!(selection.slot, Some(Slot::A));
        assert!(was_given_up(&selection.after, Slot::A));
    }

    #[test]
    fn a_committed_slot_that_never_becomes_healthy_is_a_fall_back_in_the_end() {
        let mut state = with_trial();
        state.mark_good(Slot::B);
        let (state, slot) = boots(state, 10);
        assert_eq!(slot, Some(Slot::A));
        assert!(was_given_up(&state, Slot::A));
    }

    #[test]
    fn a_fall_back_is_reported_once() {
        let (mut state, _) = boots(with_trial(), 4);
        state.fell_back(Slot::A);
        assert!(!was_given_up(&state, Slot::A));
        let (state, slot) = boots(state, 1);
        assert_eq!(slot, Some(Slot::A));
        assert!(!was_given_up(&state, Slot::A));
    }

    #[test]
    fn the_slot_on_trial_that_runs_is_expected() {
        let (state, slot) = boots(with_trial(), 2);
        assert_eq!(slot, Some(Slot::B));
        assert!(!was_given_up(&state, Slot::B));
    }
}
