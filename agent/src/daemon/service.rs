//! The daemon: one boot's verdict. See `docs/operating.md`, "What the daemon does at every boot".

use std::fs;
use std::time::Duration;

use image_layout::Slot;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::config::Config;
use crate::console::{say, warn};
use crate::daemon::alive::keepalive::Keepalive;
use crate::daemon::alive::notify::Notify;
use crate::daemon::arrival;
use crate::daemon::commit;
#[cfg(feature = "pull")]
use crate::daemon::poll;
use crate::daemon::recovery_copy;
use crate::device::Device;
use crate::device::command_line::Booted;
use crate::device::environment::Environment;
use crate::device::lock::Lock;
use crate::device::reboot;
use crate::exit::{Exit, Failure};
use crate::health::{Checks, Failed};
use crate::status::state::Kind;
use crate::stick::running;

/// Exists once this boot's health checks have passed; the trial-deadline unit looks for it.
pub const HEALTHY: &str = "/run/daruma/healthy";
/// Exists while the system runs without being healthy because there is nothing better to boot; says
/// why.
pub const DEGRADED: &str = "/run/daruma/degraded";
/// Exists while the daemon runs this boot's health checks.
pub const CHECKING: &str = "/run/daruma/checking";
/// How often a lock that somebody else holds is asked for again.
const LOCK_RETRY: Duration = Duration::from_millis(500);
/// After the reboot was asked for, this is how long the system may take to go down before it is
/// forced.
const REBOOT_GRACE: Duration = Duration::from_secs(120);

/// Runs until SIGTERM or SIGINT, or until it has asked for a reboot.
///
/// A configuration that cannot be used does not stop it: without a daemon even a committed system
/// would be left, after nine boots. It works with [`Config::makeshift`] then. But a system on trial
/// is not committed so: what it should be checked for is not known.
///
/// # Errors
/// The environment cannot be read or written, or the reboot fails. systemd starts the daemon again.
pub fn run(device: &Device, config: Result<Config, Failure>) -> Result<(), Failure> {
    let (config, unusable) = match config {
        Ok(config) => (config, None),
        Err(failure) => (Config::makeshift(device), Some(failure)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Unexpected, format!("starting the daemon: {error}")))?;
    let result = runtime.block_on(serve(device, &config, unusable.as_ref()));
    // A name that never resolves must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(
    device: &Device,
    config: &Config,
    unusable: Option<&Failure>,
) -> Result<(), Failure> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let notify = Notify::from_environment();
    let mut keepalive = Keepalive::start(&notify, device, &config.watchdog);
    notify.ready();
    let result = tokio::select! {
        _ = terminate.recv() => Ok(Ended::Stopped),
        _ = interrupt.recv() => Ok(Ended::Stopped),
        result = live(device, config, unusable, &notify) => result,
        never = keepalive.run(&notify) => match never {},
    };
    notify.stopping();
    match result {
        Ok(Ended::Stopped) => {
            // Until this boot's verdict somebody must watch it: a trial whose judge was stopped
            // would last for ever.
            if device.path(HEALTHY).exists() || device.path(DEGRADED).exists() {
                keepalive.disarm();
            } else if keepalive.feeds_hardware() {
                warn("stopped before this boot was judged: the hardware watchdog stays armed");
            }
            say("stopped");
            Ok(())
        }
        // The hardware watchdog, if it is ours, keeps running: it ends a shutdown that hangs.
        Ok(Ended::Rebooting) => Ok(()),
        Err(failure) => Err(failure),
    }
}

enum Ended {
    Stopped,
    Rebooting,
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind)
        .map_err(|error| Failure::new(Exit::Unexpected, format!("listening for signals: {error}")))
}

async fn live(
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
    let on_trial = {
        let _lock = wait_for_lock(device).await?;
        if let Some(fall_back) = arrival::settle(device)? {
            tell(&fall_back);
        }
        Environment::load(device)?.state().trial == Some(running)
    };
    if let Some(failure) = unusable {
        tell(&makeshift_line(failure));
    }
    if device.path(HEALTHY).exists() {
        tell(&format!("slot {running} is healthy"));
        return wait_for_updates(device, config, &tell).await;
    }
    let checks = Checks::of(device, &config.health);
    // A restarted daemon of a degraded system must not reboot it after all.
    if !device.path(DEGRADED).exists() {
        tell(&format!("slot {running}: {} health checks", checks.count()));
        mark_file(device, CHECKING, "");
        let outcome = match unusable {
            // The next try may find it usable; waiting would not help.
            Some(failure) if on_trial => Err(Failed::of_configuration(failure)),
            _ => checks.until_deadline().await,
        };
        let _ = fs::remove_file(device.path(CHECKING));
        match outcome {
            Ok(()) => {
                tell(&commit_under_lock(device, running).await?);
                return live_on(device, config, &tell).await;
            }
            Err(failed) => {
                let lock = wait_for_lock(device).await?;
                match give_up(device, running, &failed)? {
                    Verdict::Reboot(line) => {
                        tell(&line);
                        reboot::ask(device, config)?;
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
    live_on(device, config, &tell).await
}

/// What is left to do for a healthy, committed system: recovery is made that of this system, and
/// updates are waited for.
async fn live_on(device: &Device, config: &Config, tell: &impl Fn(&str)) -> Result<Ended, Failure> {
    let own = device.clone();
    match tokio::task::spawn_blocking(move || recovery_copy::refresh(&own)).await {
        Ok(Ok(Some(line))) => say(line),
        // The slots' boot images start recovery too: nothing is lost yet.
        Ok(Err(failure)) => warn(failure),
        Ok(Ok(None)) | Err(_) => {}
    }
    wait_for_updates(device, config, tell).await
}

#[cfg(not(feature = "pull"))]
use wait_for_sticks as wait_for_updates;

/// Returns only if a stick or the channel has brought a system: then the machine goes down.
#[cfg(feature = "pull")]
async fn wait_for_updates(
    device: &Device,
    config: &Config,
    tell: &impl Fn(&str),
) -> Result<Ended, Failure> {
    tokio::select! {
        ended = wait_for_sticks(device, config, tell) => ended,
        line = poll::poll(device, config, tell) => {
            tell(&line);
            reboot::ask(device, config)?;
            see_it_go_down(device).await
        }
    }
}

/// Returns only if a stick has brought a bundle: then the machine goes down.
async fn wait_for_sticks(
    device: &Device,
    config: &Config,
    tell: &impl Fn(&str),
) -> Result<Ended, Failure> {
    // A device in a folder has no USB port; this machine's is not meant.
    let Some(wanted) = running::wanted(config.usb.policy).filter(|_| device.is_real()) else {
        return std::future::pending().await;
    };
    let (own, own_config) = (device.clone(), config.clone());
    // On a thread of its own: the watchdog is fed meanwhile.
    match tokio::task::spawn_blocking(move || running::watch(&own, &own_config, wanted)).await {
        Ok(Ok(line)) => tell(&line),
        Ok(Err(failure)) => {
            warn(failure);
            return std::future::pending().await;
        }
        Err(_) => return std::future::pending().await,
    }
    reboot::ask(device, config)?;
    see_it_go_down(device).await
}

/// What the daemon and the status say of a configuration that cannot be used.
pub(crate) fn makeshift_line(failure: &Failure) -> String {
    format!(
        "{failure}; the daemon works with the defaults until that is mended and it is started again"
    )
}

/// Waits for an install or a person's command to finish: neither is to be cut off, or overwritten.
async fn wait_for_lock(device: &Device) -> Result<Lock, Failure> {
    loop {
        match device.lock() {
            Err(failure) if failure.exit == Exit::Locked => sleep(LOCK_RETRY).await,
            result => return result,
        }
    }
}

/// [`commit::commit`] under the lock. The lock is free again when this returns: the daemon idles
/// for ever after it, and an install must be possible then.
async fn commit_under_lock(device: &Device, running: Slot) -> Result<String, Failure> {
    let _lock = wait_for_lock(device).await?;
    let line = commit::commit(device, running)?;
    mark_file(device, HEALTHY, &line);
    Ok(line)
}

enum Verdict {
    Reboot(String),
    Degraded(String),
}

/// The checks have not passed in time. A reboot makes sense only when it can lead to another
/// system: while GRUB still has the other slot to go to. After a fall-back it has none, because the
/// failed slot is marked bad.
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
    device.state_file().change(|state| {
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

/// Waits for the shutdown that was asked for; forces it when it does not come.
async fn see_it_go_down(device: &Device) -> Result<Ended, Failure> {
    if device.is_real() {
        sleep(REBOOT_GRACE).await;
        reboot::now()?;
    }
    Ok(Ended::Rebooting)
}

fn mark_file(device: &Device, name: &str, line: &str) {
    let path = device.path(name);
    if let Err(error) = fs::write(&path, format!("{line}\n")) {
        warn(format_args!("writing {}: {error}", path.display()));
    }
}
