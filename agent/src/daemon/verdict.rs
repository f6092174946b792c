//! Judges one boot: runs the health checks, then commits the system or gives it up.
//!
//! `health` runs the checks. The daemon takes the lock for each change and does not hold it while
//! it waits. See `docs/operating.md`, "What the daemon does at every boot".

use std::fs;
use std::time::Duration;

use image_layout::Slot;
use tokio::time::sleep;

use crate::config::{self, Config};
use crate::console::{say, warn};
use crate::daemon::alive::notify::Notify;
use crate::daemon::arrival;
use crate::daemon::commit;
use crate::daemon::recovery_copy;
use crate::daemon::updates::{Ended, see_it_go_down, wait_for_updates};
use crate::device::Device;
use crate::device::command_line::Booted;
use crate::device::esp::environment::Environment;
use crate::device::lock::Lock;
use crate::device::reboot;
use crate::exit::{Exit, Failure};
use crate::health::units::keeper;
use crate::health::units::watch::Watch;
use crate::health::{Checks, Failed};
use crate::status::marks::{CHECKING, DEGRADED, HEALTHY};
use crate::status::state::Kind;
use crate::status::state_file::StateFile;

/// Time between two tries to take a lock that another process holds.
const LOCK_RETRY: Duration = Duration::from_millis(500);

/// Judges this boot, and then waits for updates. Returns when the machine goes down.
pub(crate) async fn live(
    device: &Device,
    config: &Config,
    unusable: Option<&Failure>,
    notify: &Notify,
) -> Result<Ended, Failure> {
    let tell = |line: &str| {
        say(line);
        notify.status(line);
    };
    let Booted::Slot(running) = device.command_line().booted else {
        tell("this is the recovery image: nothing to do");
        return std::future::pending().await;
    };
    let (on_trial, has_other) = {
        let _lock = wait_for_lock(device).await?;
        if let Some(fall_back) = arrival::settle(device)? {
            tell(&fall_back);
        }
        let boot = Environment::load(device)?.state();
        (boot.trial == Some(running), boot.may_boot(!running))
    };
    if let Some(failure) = unusable {
        tell(&config::makeshift_line(failure));
    }
    if device.path(HEALTHY).exists() {
        tell(&format!("slot {running} is healthy"));
        return live_on(device, config, &tell).await;
    }
    // A unit is a reason to go back to the other system. Without another, only the units count that
    // the recipe of a first version names. A roll-back leads to a system that may never have had
    // what the newer one had.
    let judges_units = unusable.is_none()
        && on_trial == has_other
        && !(on_trial && StateFile::of(device).load().0.was_rolled_back_to(running));
    let watch = judges_units.then(|| Watch::of(device, &config.health, !on_trial)).flatten();
    let mut checks = Checks::of(device, &config.health).with_units(watch);
    // A restarted daemon of a degraded system must not reboot it.
    if !device.path(DEGRADED).exists() {
        let units = match checks.unit_count() {
            0 => String::new(),
            count => format!(", {count} units"),
        };
        tell(&format!("slot {running}: {} health checks{units}", checks.count()));
        mark_file(device, CHECKING, "");
        let mut outcome = match unusable {
            // The next boot may find it usable. Waiting would not help.
            Some(failure) if on_trial => Err(Failed::of_configuration(failure)),
            _ => checks.until_deadline().await,
        };
        if let Err(failed) = &outcome
            && failed.is_of_units
            && on_trial
            && !is_on_trial(device, running)?
        {
            // A person has committed the system meanwhile, so a unit is no reason to reboot.
            warn(failed);
            checks = checks.with_units(None);
            outcome = checks.until_deadline().await;
        }
        let _ = fs::remove_file(device.path(CHECKING));
        match outcome {
            Ok(()) => {
                tell(&commit_under_lock(device, running).await?);
                refresh_recovery(device).await;
                return live_on(device, config, &tell).await;
            }
            Err(failed) => {
                let lock = wait_for_lock(device).await?;
                match give_up(device, running, &failed)? {
                    Verdict::Reboot(line) => {
                        tell(&line);
                        reboot::ask(device, &config.reboot_command)?;
                        drop(lock);
                        return see_it_go_down(device).await;
                    }
                    Verdict::Degraded(line) => tell(&line),
                }
            }
        }
    }
    // A stick or the channel may bring a degraded system what it lacks.
    tokio::select! {
        () = checks.until_passed() => {}
        ended = wait_for_updates(device, config, &tell) => return ended,
    }
    let _ = fs::remove_file(device.path(DEGRADED));
    tell(&commit_under_lock(device, running).await?);
    refresh_recovery(device).await;
    live_on(device, config, &tell).await
}

/// Keeps the baseline of the healthy, committed system, and waits for updates.
async fn live_on(device: &Device, config: &Config, tell: &impl Fn(&str)) -> Result<Ended, Failure> {
    tokio::select! {
        ended = wait_for_updates(device, config, tell) => ended,
        never = keeper::keep(device, &config.health) => match never {},
    }
}

/// Refreshes recovery from the healthy, committed system.
async fn refresh_recovery(device: &Device) {
    let own = device.clone();
    match tokio::task::spawn_blocking(move || recovery_copy::refresh(&own)).await {
        Ok(Ok(Some(line))) => say(line),
        // The slots' boot images start recovery too, so nothing is lost yet.
        Ok(Err(failure)) => warn(failure),
        Ok(Ok(None)) | Err(_) => {}
    }
}

/// Waits until an install or a person's command has finished. Neither may be cut off or
/// overwritten.
async fn wait_for_lock(device: &Device) -> Result<Lock, Failure> {
    loop {
        match device.lock() {
            Err(failure) if failure.exit == Exit::Locked => sleep(LOCK_RETRY).await,
            result => return result,
        }
    }
}

/// Commits under the lock. Frees the lock at the end: the daemon idles for ever after it, and an
/// install must be possible.
async fn commit_under_lock(device: &Device, running: Slot) -> Result<String, Failure> {
    let _lock = wait_for_lock(device).await?;
    let line = commit::commit(device, running)?;
    mark_file(device, HEALTHY, &line);
    Ok(line)
}

fn is_on_trial(device: &Device, running: Slot) -> Result<bool, Failure> {
    Ok(Environment::load(device)?.state().trial == Some(running))
}

enum Verdict {
    Reboot(String),
    Degraded(String),
}

/// Gives the boot up: its checks have not passed in time. A reboot makes sense only if GRUB still
/// has the other slot to go to. After a fall-back it has not, because the failed slot is marked
/// bad.
fn give_up(device: &Device, running: Slot, failed: &Failed) -> Result<Verdict, Failure> {
    let boot = Environment::load(device)?.state();
    let version = device.slot_config(running).ok().map(|config| config.version);
    let verdict = if boot.may_boot(!running) {
        let (tries, limit) = (boot.slot(running).tries, boot.limit(running));
        Verdict::Reboot(format!(
            "slot {running} failed (boot {tries} of {limit}): {failed}; rebooting"
        ))
    } else {
        Verdict::Degraded(format!(
            "slot {running} is degraded, and there is nothing better to boot: {failed}"
        ))
    };
    StateFile::of(device).change(|state| {
        state.record(Kind::HealthFailed, running, version.as_ref(), failed.to_string());
        if let Verdict::Degraded(_) = verdict {
            state.record(Kind::Degraded, running, version.as_ref(), failed.to_string());
        }
    });
    if let Verdict::Degraded(_) = verdict {
        mark_file(device, DEGRADED, &failed.to_string());
    }
    Ok(verdict)
}

fn mark_file(device: &Device, name: &str, line: &str) {
    let path = device.path(name);
    if let Err(error) = fs::write(&path, format!("{line}\n")) {
        warn(format_args!("writing {}: {error}", path.display()));
    }
}
