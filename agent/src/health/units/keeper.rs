//! Keeps the baseline of the committed system that runs.
//!
//! `baseline` is the file. The daemon runs this after its verdict for as long as it lives. The
//! baseline is taken when nothing starts any more, so that a slow starter is in it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::{self, Baseline as Mode};
use crate::console::warn;
use crate::device::Device;
use crate::health::units::baseline::Baseline;
use crate::health::units::standing::Reading;
use crate::health::units::systemd;

/// Time between two looks at a settled system. A unit that a person has stopped for good, or whose
/// hardware is gone, must have left the baseline when the next update comes.
const REFRESH: Duration = Duration::from_secs(3600);

/// Keeps the baseline for ever. The running system is committed and healthy.
pub(crate) async fn keep(device: &Device, config: &config::Health) -> Infallible {
    if config.baseline == Mode::Off || !systemd::is_there(device) {
        return std::future::pending().await;
    }
    let mut told = None;
    loop {
        let kept = match settled(config).await {
            Ok(units) => store_if_changed(device, units),
            Err(cause) => Err(format!("asking systemd for its units: {cause}")),
        };
        if kept != Ok(()) && told.as_ref() != Some(&kept) {
            let _ = kept.as_ref().map_err(warn);
        }
        told = Some(kept);
        sleep(REFRESH).await;
    }
}

/// Waits until no unit starts any more, at most until the deadline. Returns the units that were up
/// at two looks in a row, without a restart in between.
async fn settled(config: &config::Health) -> Result<BTreeSet<String>, String> {
    let end = Instant::now() + config.deadline;
    let mut before = systemd::read_wanted(config.check_timeout).await?;
    loop {
        sleep(config.retry).await;
        let now = systemd::read_wanted(config.check_timeout).await?;
        if Instant::now() >= end || (before.up() == now.up() && !now.is_starting()) {
            return Ok(steady(&before, &now));
        }
        before = now;
    }
}

fn steady(before: &Reading, now: &Reading) -> BTreeSet<String> {
    let (before, now) = (before.up(), now.up());
    let steady = now.into_iter().filter(|(name, restarts)| before.get(name) == Some(restarts));
    steady.map(|(name, _)| name.to_owned()).collect()
}

fn store_if_changed(device: &Device, units: BTreeSet<String>) -> Result<(), String> {
    let running = device.running().map_err(|failure| failure.message)?;
    let version = device.slot_config(running)?.version;
    let baseline = Baseline::new(version, units);
    if Baseline::load(device) == Ok(Some(baseline.clone())) {
        return Ok(());
    }
    baseline.store(device)
}
