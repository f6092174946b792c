//! Commits the running slot after its health checks have passed.
//!
//! `verdict` runs the checks and holds the lock. A commit also resets the count of boots, on a slot
//! that was not on trial too.

use image_layout::Slot;

use crate::device::Device;
use crate::device::esp::environment::Environment;
use crate::exit::Failure;
use crate::status::state::Kind;
use crate::status::state_file::StateFile;

/// Commits the slot `running` if it was on trial, and sets its count of boots to zero. Returns the
/// line for the person. The caller holds the lock, and all health checks have passed.
///
/// # Errors
/// The environment cannot be read or written.
pub fn commit(device: &Device, running: Slot) -> Result<String, Failure> {
    let mut environment = Environment::load(device)?;
    let mut boot = environment.state();
    let was_trial = boot.trial == Some(running);
    boot.mark_good(running);
    if let Some(record) = device.disk_record() {
        environment.note_place(&record.place);
    }
    environment.write(&boot)?;
    StateFile::of(device).change(|state| {
        state.release(running);
        let version = device.slot_config(running).ok().map(|config| config.version);
        let was_degraded = state.events.iter().rfind(|event| event.slot == running.name());
        if was_trial {
            state.owe_report(running, false);
            state.record(Kind::Committed, running, version.as_ref(), "all health checks passed");
        } else if was_degraded
            .is_some_and(|event| matches!(event.kind, Kind::Degraded | Kind::HealthFailed))
        {
            state.record(Kind::Recovered, running, version.as_ref(), "all health checks passed");
        }
    });
    Ok(if was_trial {
        format!("slot {running} is healthy and committed")
    } else {
        format!("slot {running} is healthy")
    })
}
