//! The facts about this device that decide which release it takes.
//!
//! `bundle::channel` decides. The device's clock is one of the facts, and it may be wrong.

use bundle::channel::{Facts, Timestamp};
use bundle::{Compatible, Sha256};
use semver::Version;

use crate::config::Config;
use crate::device::Device;
use crate::device::identity::identity;
use crate::exit::{Exit, Failure};
use crate::status::state::now_s;
use crate::status::state_file::StateFile;

/// Most bytes of a device id.
const ID: usize = 256;

/// The facts, with everything that they borrow.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) id: String,
    pub(crate) compatible: Compatible,
    pub(crate) version: Version,
    pub(crate) build: String,
    pub(crate) manifest: Option<Sha256>,
    floor: Version,
    quarantine: Vec<Sha256>,
    delta_memory_mib: u32,
    pub(crate) now: Timestamp,
}

impl Own {
    /// Gathers the facts from the running system.
    ///
    /// # Errors
    /// [`Exit::NotADevice`]: nobody can tell what this device is.
    pub(crate) fn gather(device: &Device, config: &Config) -> Result<Self, Failure> {
        let running = device.running()?;
        let failure = |cause: &dyn std::fmt::Display| {
            Failure::new(Exit::NotADevice, format!("cannot tell what this device is: {cause}"))
        };
        let here = identity(device).map_err(|cause| failure(&cause))?;
        let compatible = here.compatible.parse().map_err(|error| failure(&error))?;
        let (state, _) = StateFile::of(device).load();
        let installed = state.installed.get(running.name());
        let manifest = installed
            .filter(|installed| {
                installed.version == here.version.to_string() && installed.build == here.build
            })
            .and_then(|installed| Sha256::try_from(installed.manifest_sha256.clone()).ok());
        let quarantine = state
            .quarantined
            .iter()
            .filter_map(|q| Sha256::try_from(q.manifest_sha256.clone()).ok());
        Ok(Self {
            id: device_id(device, config),
            compatible,
            version: here.version.clone(),
            build: here.build.clone(),
            manifest,
            floor: config.min_version.clone().max(here.min_version),
            quarantine: quarantine.collect(),
            delta_memory_mib: config.pull.delta_memory_mib,
            now: Timestamp::from_seconds(now_s()),
        })
    }

    pub(crate) fn facts(&self, seen_serial: u64) -> Facts<'_> {
        Facts {
            id: &self.id,
            compatible: &self.compatible,
            version: &self.version,
            manifest: self.manifest,
            floor: &self.floor,
            quarantine: &self.quarantine,
            delta_memory_mib: self.delta_memory_mib,
            seen_serial,
            now: self.now,
        }
    }
}

/// Returns the id of the configuration, or systemd's machine id. Empty if there is none: then this
/// device comes last in every roll-out.
fn device_id(device: &Device, config: &Config) -> String {
    if let Some(id) = &config.channel.device_id {
        return id.clone();
    }
    let bytes = crate::trust::kept::read(&device.path("/etc/machine-id"), ID).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    // systemd writes this into an image that has not been started yet.
    let id = text.trim();
    if id == "uninitialized" || id.len() > ID { String::new() } else { id.to_owned() }
}
