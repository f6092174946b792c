//! The next step that follows from a channel's decision and from the idle slot.
//!
//! `bundle::channel` chooses the release, and `plan` adds remarks. A release that the idle slot
//! already holds is not installed again.

use bundle::channel::{Decision, Delta, Release, Verdict};

use crate::channel::facts::Own;
use crate::device::Device;
use crate::device::esp::environment::Environment;
use crate::exit::Failure;
use crate::status::state::Installed;
use crate::status::state_file::StateFile;
use image_layout::Amount;

/// The next step.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing.
    Nothing,
    /// Install this release, by the first of the deltas that can be used.
    Install(Box<Release>, Vec<Delta>),
    /// Reboot: the release is installed already.
    Reboot,
}

impl Step {
    /// Returns the step, and the line that says it to a person. A refused channel leads to no step.
    ///
    /// # Errors
    /// The boot environment cannot be read.
    pub(crate) fn of(
        device: &Device,
        decision: &Decision<'_>,
        own: &Own,
    ) -> Result<(Self, String), Failure> {
        let Verdict::Install(release, deltas) = &decision.verdict else {
            return Ok((Self::Nothing, nothing_line(decision, own)));
        };
        let (compatible, version) = (&release.compatible, &release.version);
        Ok(match idle_slot_holds(device, release)? {
            Some(true) => {
                let line =
                    format!("{compatible} {version} is installed and starts with the next boot");
                (Self::Reboot, line)
            }
            Some(false) => {
                let line = format!(
                    "nothing to install: the other slot holds {compatible} {version}, and a person \
                        went back from that version; `daruma rollback` starts that version again"
                );
                (Self::Nothing, line)
            }
            None => {
                let line = format!(
                    "{compatible} {version} (build {}, at most {}) is to be installed over {}",
                    release.build,
                    Amount(release.size),
                    own.version
                );
                let deltas = deltas.iter().map(|delta| (*delta).clone()).collect();
                (Self::Install(Box::new((*release).clone()), deltas), line)
            }
        })
    }

    /// Returns the word for programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Install(..) => "install",
            Self::Reboot => "reboot",
        }
    }
}

fn nothing_line(decision: &Decision<'_>, own: &Own) -> String {
    let (compatible, version) = (&own.compatible, &own.version);
    if decision.passed_over.is_empty() {
        format!("nothing to install: {compatible} {version} is the newest for this device")
    } else {
        format!("nothing to install: {compatible} {version} stays")
    }
}

/// Returns true if the idle slot holds all of `release` and will boot it on trial; false if a
/// person went back from it. `None`: the slot does not hold it, or it is marked bad.
fn idle_slot_holds(device: &Device, release: &Release) -> Result<Option<bool>, Failure> {
    let other = !device.running()?;
    let (state, _) = StateFile::of(device).load();
    let is_it =
        |installed: &Installed| installed.manifest_sha256 == release.manifest_sha256.to_string();
    if !state.installed.get(other.name()).is_some_and(is_it) {
        return Ok(None);
    }
    let boot = Environment::load(device)?.state();
    Ok(boot.slot(other).ok.then_some(boot.trial == Some(other)))
}
