//! Sends signs of life to systemd's watchdog, or feeds the hardware watchdog without systemd.
//!
//! `notify` and `watchdog` know the two protocols. The signs come from the daemon's only thread, so
//! a daemon that hangs falls silent.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use crate::config;
use crate::console::warn;
use crate::daemon::alive::notify::Notify;
use crate::daemon::alive::watchdog::Watchdog;
use crate::device::Device;

/// Who is told, and how often.
#[derive(Debug)]
pub(crate) struct Keepalive {
    watchdog: Option<Watchdog>,
    interval: Option<Duration>,
}

impl Keepalive {
    /// Opens the configured hardware watchdog. The daemon runs without one too: the system may be
    /// fine.
    pub(crate) fn start(notify: &Notify, device: &Device, config: &config::Watchdog) -> Self {
        let watchdog = config.device.as_ref().and_then(|path| {
            let path = device.path(path);
            Watchdog::open(&path, config.timeout)
                .inspect_err(|error| {
                    warn(format_args!("opening the watchdog {}: {error}", path.display()))
                })
                .ok()
        });
        let interval = [notify.interval(), watchdog.as_ref().map(Watchdog::interval)]
            .into_iter()
            .flatten()
            .min();
        Self { watchdog, interval }
    }

    /// Gives signs of life for ever. It runs on the daemon's only thread, so a daemon that hangs
    /// falls silent.
    pub(crate) async fn run(&mut self, notify: &Notify) -> Infallible {
        let Some(interval) = self.interval else { return std::future::pending().await };
        loop {
            if notify.interval().is_some() {
                notify.alive();
            }
            if let Some(Err(error)) = self.watchdog.as_mut().map(Watchdog::feed) {
                warn(format_args!("feeding the watchdog: {error}"));
            }
            sleep(interval).await;
        }
    }

    /// Returns true if this program keeps the hardware's timer from running out.
    #[must_use]
    pub(crate) fn feeds_hardware(&self) -> bool {
        self.watchdog.is_some()
    }

    /// Stops the hardware's timer.
    pub(crate) fn disarm(self) {
        if let Some(Err(error)) = self.watchdog.map(Watchdog::disarm) {
            warn(format_args!("disarming the watchdog: {error}"));
        }
    }
}
