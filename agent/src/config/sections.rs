//! The short sections: `[health]`, `[watchdog]`, `[usb]` and `[recovery]`.
//!
//! `channel` and `pull` have the long sections. A missing section means its defaults.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::numbers::seconds;
use crate::config::unit_pattern::UnitPattern;

/// Section `[usb]`: what the running system does with a stick that is plugged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Usb {
    /// Which bundles on the stick are installed.
    pub policy: UsbPolicy,
    /// When credentials on the stick are taken.
    pub provision: Provision,
}

/// When the running system takes the credentials of a stick.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provision {
    /// Never.
    Never,
    /// As long as the device has no credential and never had an update.
    #[default]
    Once,
    /// Whenever a stick has some.
    Always,
}

/// Which bundles on a stick the running system installs by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsbPolicy {
    /// None. Sticks are not even mounted.
    #[default]
    Off,
    /// The newest acceptable bundle, if it is newer than the running system.
    Newer,
    /// Any acceptable bundle except the running system, down to the floor.
    AnySigned,
}

/// Section `[recovery]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Recovery {
    /// Folder of a light that shows what happens with a stick, such as
    /// `/sys/class/leds/green:status`.
    pub led: Option<PathBuf>,
}

/// Section `[health]`: what must hold before a system is committed.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Health {
    /// Seconds from the start of the daemon. Within them all checks must pass once.
    #[serde(rename = "deadline-s", deserialize_with = "seconds")]
    pub deadline: Duration,
    /// Seconds that one check may take. After them it is killed and counts as failed.
    #[serde(rename = "check-timeout-s", deserialize_with = "seconds")]
    pub check_timeout: Duration,
    /// Seconds between a round with a failed check and the next round.
    #[serde(rename = "retry-s", deserialize_with = "seconds")]
    pub retry: Duration,
    /// systemd units that must be active.
    pub units_active: Vec<String>,
    /// If true, there must be an IPv4 or IPv6 default route.
    pub default_route: bool,
    /// Host names that must resolve.
    pub dns: Vec<String>,
    /// Names of processes. At least one process of each name must run.
    pub process: Vec<String>,
    /// What is asked of a system on trial without any configuration.
    pub baseline: Baseline,
    /// Units that the baseline and the warnings about units pass over.
    pub ignore_units: Vec<UnitPattern>,
}

/// What is asked of a system on trial without any configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The units that worked in the last committed system must work.
    #[default]
    Units,
    /// Nothing.
    Off,
}

/// The default of `ignore-units`: units that wait for the network or for its time. They work only
/// while the provider does, and no update breaks that.
const IGNORED: [&str; 2] = ["*-wait-online.service", "systemd-time-wait-sync.service"];

/// Section `[watchdog]`: for systems without systemd, where nobody else feeds the hardware
/// watchdog.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Watchdog {
    /// The device to open and feed. Absent: none.
    pub device: Option<PathBuf>,
    /// Seconds until the hardware resets the machine. The daemon feeds it twice as often.
    #[serde(rename = "timeout-s", deserialize_with = "seconds")]
    pub timeout: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(300),
            check_timeout: Duration::from_secs(30),
            retry: Duration::from_secs(5),
            units_active: Vec::new(),
            default_route: false,
            dns: Vec::new(),
            process: Vec::new(),
            baseline: Baseline::default(),
            ignore_units: IGNORED.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { device: None, timeout: Duration::from_secs(60) }
    }
}
