//! What `daruma status` says about the units.
//!
//! `status` shows it. Here a unit is never a reason to reboot: every finding is a warning.

use std::time::Duration;

use serde::Serialize;

use crate::config::{self, Baseline as Mode};
use crate::device::Device;
use crate::health::units::baseline::{Baseline, Expected, is_ignored};
use crate::health::units::standing::Standing;
use crate::health::units::systemd;

/// Time that `systemctl` may take for an answer to `daruma status`.
const LIMIT: Duration = Duration::from_secs(10);

/// The baseline of this device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UnitsStatus {
    /// `kept`, `none` yet, `damaged`, `off` by the configuration, or `no-systemd`.
    pub baseline: &'static str,
    /// The version in which the units worked.
    pub version: Option<String>,
    /// The number of units that must work in the next system.
    pub count: usize,
}

/// Returns the baseline's state, and a warning for each unit that does not work.
pub(crate) fn gather(device: &Device, config: &config::Health) -> (UnitsStatus, Vec<String>) {
    let says = |baseline| UnitsStatus { baseline, version: None, count: 0 };
    if config.baseline == Mode::Off {
        return (says("off"), Vec::new());
    }
    if !systemd::is_there(device) {
        return (says("no-systemd"), Vec::new());
    }
    let mut complaint = None;
    let expected = Expected::of(device, config, &mut complaint);
    let status = UnitsStatus {
        baseline: match Baseline::load(device) {
            Ok(Some(_)) => "kept",
            Ok(None) => "none",
            Err(_) => "damaged",
        },
        version: expected.version.clone(),
        count: expected.units.len(),
    };
    let mut warnings: Vec<String> = complaint.into_iter().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let reading = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(systemd::read_all(LIMIT)));
    let reading = match reading {
        Ok(reading) => reading,
        Err(cause) => {
            warnings.push(format!("asking systemd for its units: {cause}"));
            return (status, warnings);
        }
    };
    for name in &expected.units {
        if let Standing::Failed(why) | Standing::Waits(why) = reading.standing(name) {
            warnings.push(expected.sentence(name, &why));
        }
    }
    for (name, why) in reading.failed() {
        let is_said = expected.units.contains(name) && reading.wanted.contains(name);
        if !is_said && !is_ignored(name, &config.ignore_units) {
            warnings.push(format!("unit {name} {why}"));
        }
    }
    (status, warnings)
}
