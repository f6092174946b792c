//! A person's commands about the slots: `mark good`, `mark bad` and `rollback`.
//!
//! `grub-env` knows which moves are allowed. Each command is one write of the boot environment.

use grub_env::TransitionError;
use image_layout::Slot;

use crate::device::Device;
use crate::device::esp::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::status::state::Kind;
use crate::status::state_file::StateFile;

/// A person's verdict on a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Boot it, and commit it if it is on trial.
    Good,
    /// Do not boot it again.
    Bad,
}

/// Marks `slot`, or the running one.
///
/// # Errors
/// [`Exit::OnTrial`] when marking it bad would leave nothing to boot. The lock; the environment.
pub fn mark(device: &Device, mark: Mark, slot: Option<Slot>) -> Result<String, Failure> {
    let slot = slot.map_or_else(|| device.running(), Ok)?;
    let _lock = device.lock()?;
    let mut environment = Environment::load(device)?;
    let mut boot = environment.state();
    match mark {
        Mark::Good => {
            // The next boots would waste their tries on an empty or half-written slot.
            device.slot_config(slot).map_err(|cause| {
                Failure::new(
                    Exit::Content,
                    format!("marking slot {slot} good: the slot holds no system: {cause}"),
                )
            })?;
            boot.mark_good(slot);
        }
        Mark::Bad => boot.mark_bad(slot).map_err(|error| {
            Failure::new(
                Exit::OnTrial,
                format!(
                    "marking slot {slot} bad: {error}; install something into slot {} first",
                    !slot
                ),
            )
        })?,
    }
    environment.write(&boot)?;
    StateFile::of(device).change(|state| {
        let version = device.slot_config(slot).ok().map(|config| config.version);
        let (kind, reason) = match mark {
            Mark::Good => (Kind::MarkedGood, "by hand"),
            Mark::Bad => (Kind::MarkedBad, "by hand"),
        };
        state.record(kind, slot, version.as_ref(), reason);
        match mark {
            Mark::Good => state.release(slot),
            Mark::Bad => drop(state.quarantine(slot, "marked bad by hand").cloned()),
        }
    });
    let next = boot.select().slot.map_or("recovery".to_owned(), |slot| format!("slot {slot}"));
    let verdict = if mark == Mark::Good { "good" } else { "bad" };
    Ok(format!("slot {slot} is marked {verdict}; the next boot takes {next}"))
}

/// Puts the other slot on trial, like an update.
///
/// # Errors
/// [`Exit::OnTrial`] while the running slot is on trial itself (`daruma mark bad` leaves it), or
/// when the other slot cannot be booted. The lock; the environment.
pub fn roll_back(device: &Device) -> Result<String, Failure> {
    let running = device.running()?;
    let target = !running;
    let _lock = device.lock()?;
    let mut environment = Environment::load(device)?;
    let mut boot = environment.state();
    let refuse = |cause: String| {
        Failure::new(Exit::OnTrial, format!("rolling back to slot {target}: {cause}"))
    };
    if boot.trial == Some(running) {
        return Err(refuse(format!(
            "slot {running} is on trial; end the trial with 'daruma mark bad' and a reboot, or \
                commit the slot with 'daruma mark good'"
        )));
    }
    boot.roll_back(running).map_err(|error: TransitionError| {
        refuse(format!(
            "{error}; install a bundle, or run 'daruma mark good {target}' if that slot is good"
        ))
    })?;
    let version = device
        .slot_config(target)
        .map_err(|cause| refuse(format!("the slot holds no system: {cause}")))?
        .version;
    environment.write(&boot)?;
    StateFile::of(device)
        .change(|state| state.record(Kind::RollBack, target, Some(&version), "asked for by hand"));
    Ok(format!("slot {target} ({version}) is on trial from the next boot; reboot to start it"))
}
