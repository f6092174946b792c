//! Waits for an update from a stick or the channel, and for the reboot into it.
//!
//! `stick` and `poll` install. Work that blocks runs on a thread of its own, so that the daemon
//! goes on feeding the watchdog.

use std::time::Duration;

use tokio::time::sleep;

use crate::config::Config;
use crate::console::warn;
#[cfg(feature = "pull")]
use crate::daemon::poll;
use crate::device::Device;
use crate::device::reboot;
use crate::exit::Failure;
use crate::stick::running;

/// Time that the system may take to go down after the reboot was asked for. Then the reboot is
/// forced.
const REBOOT_GRACE: Duration = Duration::from_secs(120);

/// How the daemon ends.
pub(crate) enum Ended {
    Stopped,
    Rebooting,
}

#[cfg(not(feature = "pull"))]
pub(crate) use wait_for_sticks as wait_for_updates;

/// Waits for an update. Returns only if a stick or the channel has brought a system: then the
/// machine goes down.
#[cfg(feature = "pull")]
pub(crate) async fn wait_for_updates(
    device: &Device,
    config: &Config,
    tell: &impl Fn(&str),
) -> Result<Ended, Failure> {
    tokio::select! {
        ended = wait_for_sticks(device, config, tell) => ended,
        line = poll::poll(device, config, tell) => {
            tell(&line);
            reboot::ask(device, &config.reboot_command)?;
            see_it_go_down(device).await
        }
    }
}

/// Waits for a stick. Returns only if one has brought a bundle or credentials: then the machine
/// goes down.
pub(crate) async fn wait_for_sticks(
    device: &Device,
    config: &Config,
    tell: &impl Fn(&str),
) -> Result<Ended, Failure> {
    // A device in a folder has no USB port, and this machine's port is not meant.
    let wish = if device.is_real() { running::wish(device, config.usb) } else { None };
    let Some(wish) = wish else { return std::future::pending().await };
    let (own, own_config) = (device.clone(), config.clone());
    // A thread of its own waits, so that the watchdog is fed meanwhile.
    match tokio::task::spawn_blocking(move || running::watch(&own, &own_config, wish)).await {
        Ok(Ok(line)) => tell(&line),
        Ok(Err(failure)) => {
            warn(failure);
            return std::future::pending().await;
        }
        Err(_) => return std::future::pending().await,
    }
    reboot::ask(device, &config.reboot_command)?;
    see_it_go_down(device).await
}

/// Waits for the shutdown that was asked for. Forces the reboot if it does not come.
pub(crate) async fn see_it_go_down(device: &Device) -> Result<Ended, Failure> {
    if device.is_real() {
        sleep(REBOOT_GRACE).await;
        reboot::now()?;
    }
    Ok(Ended::Rebooting)
}
