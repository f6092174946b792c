//! Cancels the trial of a release that its publisher withdrew before the first boot.
//!
//! `plan` finds such a release. `daruma update` and the daemon call this file. A trial that has
//! booted once is never cancelled here.

use bundle::channel::Channel;
use image_layout::Slot;
use semver::Version;

use crate::channel::facts::Own;
use crate::device::Device;
use crate::device::esp::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::status::state::Kind;
use crate::status::state_file::StateFile;

/// A trial that has not begun, of a release that was withdrawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Withdrawal {
    /// The slot that holds it.
    pub(crate) slot: Slot,
    pub(crate) version: Version,
    /// The publisher's reason.
    pub(crate) reason: String,
}

impl Withdrawal {
    /// Returns the release in the idle slot, if `channel` says that it was withdrawn, it is the
    /// next trial and was not booted yet. It must be newer than the running system: an older
    /// release is there because a person went back to it.
    ///
    /// # Errors
    /// The environment cannot be read.
    pub(crate) fn find(
        device: &Device,
        channel: &Channel,
        own: &Own,
    ) -> Result<Option<Self>, Failure> {
        let slot = !device.running()?;
        let (state, _) = StateFile::of(device).load();
        let Some(installed) = state.installed.get(slot.name()) else { return Ok(None) };
        let release = channel.releases.iter().find(|release| {
            release.manifest_sha256.to_string() == installed.manifest_sha256
                && release.version.cmp_precedence(&own.version).is_gt()
        });
        let Some((release, reason)) =
            release.and_then(|release| Some((release, release.withdrawn.clone()?)))
        else {
            return Ok(None);
        };
        if !waits(&Environment::load(device)?, slot) {
            return Ok(None);
        }
        Ok(Some(Self { slot, version: release.version.clone(), reason }))
    }

    /// Returns the line of `check`, which changes nothing.
    pub(crate) fn announced(&self) -> String {
        let Self { slot, version, reason } = self;
        format!(
            "{version} waits in slot {slot} for its first boot and was withdrawn by its publisher: \
                {reason}; the daemon or `daruma update` cancels the trial"
        )
    }

    /// Cancels the trial, with one write of the environment. Returns the line for the person.
    /// `None`: it was booted, overwritten or cancelled meanwhile.
    ///
    /// # Errors
    /// The lock, the environment. [`Exit::OnTrial`]: the running slot is marked bad, so nothing
    /// would be left to boot.
    pub(crate) fn take_back(&self, device: &Device) -> Result<Option<String>, Failure> {
        let Self { slot, version, reason } = self;
        let _lock = device.lock()?;
        let mut environment = Environment::load(device)?;
        let is_here = device.slot_config(*slot).is_ok_and(|config| config.version == *version);
        if !is_here || !waits(&environment, *slot) {
            return Ok(None);
        }
        let mut boot = environment.state();
        boot.mark_bad(*slot).map_err(|error| {
            let line = format!(
                "cancelling the trial of {version} in slot {slot}, which its publisher has \
                    withdrawn ({reason}): {error}; run 'daruma mark good' if the running system is \
                    good"
            );
            Failure::new(Exit::OnTrial, line)
        })?;
        environment.write(&boot)?;
        StateFile::of(device)
            .change(|state| state.record(Kind::Withdrawn, *slot, Some(version), reason));
        Ok(Some(format!(
            "{version} in slot {slot} was withdrawn by its publisher before its first boot, and \
                is not booted: {reason}"
        )))
    }
}

/// Returns true if the next boot will be the first try of `slot`.
fn waits(environment: &Environment, slot: Slot) -> bool {
    let boot = environment.state();
    boot.trial == Some(slot) && boot.slot(slot).ok && boot.slot(slot).tries == 0
}
