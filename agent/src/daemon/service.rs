//! `daruma daemon` as a service: its runtime, its signals and its end.
//!
//! `verdict` judges the boot, and `alive/` sends signs of life. The runtime has one thread, so a
//! daemon that hangs falls silent.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::console::{say, warn};
use crate::daemon::alive::keepalive::Keepalive;
use crate::daemon::alive::notify::Notify;
use crate::daemon::updates::Ended;
use crate::daemon::verdict::live;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::status::marks::{DEGRADED, HEALTHY};

/// Runs until SIGTERM or SIGINT, or until the daemon has asked for a reboot.
///
/// A bad configuration does not stop the daemon: after nine boots without it even a committed
/// system would be left. It works with [`Config::makeshift`] then. A system on trial is not
/// committed so, because nobody knows what to check.
///
/// # Errors
/// The environment cannot be read or written, or the reboot fails. systemd then starts the daemon
/// again.
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
            // Until this boot's verdict somebody must watch it. A trial whose judge was stopped
            // would last for ever.
            if device.path(HEALTHY).exists() || device.path(DEGRADED).exists() {
                keepalive.disarm();
            } else if keepalive.feeds_hardware() {
                warn("stopped before this boot was judged: the hardware watchdog stays armed");
            }
            say("stopped");
            Ok(())
        }
        // Our hardware watchdog keeps running: it ends a shutdown that hangs.
        Ok(Ended::Rebooting) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind)
        .map_err(|error| Failure::new(Exit::Unexpected, format!("listening for signals: {error}")))
}
