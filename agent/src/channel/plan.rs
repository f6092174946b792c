//! What is to be done about a channel, in words for a person and for the daemon.

use bundle::Sha256;
use bundle::channel::{Channel, Decision, Delta, Release, Verdict, decide};

use crate::channel::asked::Asked;
use crate::channel::contact::refresh::{Fresh, refresh, refused};
use crate::channel::contact::source::Source;
use crate::channel::facts::Own;
use crate::channel::withdrawal::Withdrawal;
use crate::config::Config;
use crate::device::Device;
use crate::device::environment::Environment;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::progress::megabytes;
use crate::status::state_file::StateFile;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing.
    Nothing,
    /// This release is to be installed, by the first of the deltas that can be used.
    Install(Box<Release>, Vec<Delta>),
    /// It is installed, and starts with the next boot.
    Reboot,
}

/// What is to be done, and why.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) step: Step,
    /// A trial to take back before that.
    pub(crate) withdrawal: Option<Withdrawal>,
    /// Lines for a person; the first one is the verdict.
    pub(crate) lines: Vec<String>,
    /// The same for programs.
    pub(crate) asked: Asked,
}

impl Plan {
    /// Takes back the trial that is to be, if there is one, and then says so instead of announcing
    /// it. Returns what to tell.
    ///
    /// # Errors
    /// As [`Withdrawal::take_back`].
    pub(crate) fn take_back(&mut self, device: &Device) -> Result<Option<String>, Failure> {
        let Some(withdrawal) = self.withdrawal.take() else { return Ok(None) };
        let announced = withdrawal.announced();
        self.lines.retain(|line| *line != announced);
        withdrawal.take_back(device)
    }
}

/// Gets the channel and decides.
///
/// # Errors
/// It cannot be got, is not believed, or is not fresh.
pub(crate) fn plan(source: &Source<'_>, interrupt: &Interrupt) -> Result<Plan, Failure> {
    let Fresh { trust, channel } = refresh(source, interrupt)?;
    let mut own = Own::gather(source.device, source.config)?;
    own.manifest = own.manifest.or_else(|| listed(&channel, &own));
    let decision = decide(&channel, &trust.root, &own.facts(channel.serial));
    let withdrawal = Withdrawal::find(source.device, &channel, &own)?;
    let mut lines = remarks(&decision, &own);
    lines.extend(withdrawal.as_ref().map(Withdrawal::announced));
    let mut asked = Asked::of(&decision, &own, withdrawal.as_ref());
    let step = match decision.verdict {
        Verdict::Refuse(error) => {
            return Err(refused(&source.shown(&format!("{}.channel.json", channel.name)), &error));
        }
        Verdict::Nothing => {
            lines.insert(
                0,
                format!(
                    "nothing to install: {} {} is the newest for this device",
                    own.compatible, own.version
                ),
            );
            if !decision.passed_over.is_empty() {
                lines[0] = format!("nothing to install: {} {} stays", own.compatible, own.version);
            }
            Step::Nothing
        }
        Verdict::Install(release, deltas) => {
            match lies_in_the_other_slot(source.device, release)? {
                Some(true) => {
                    lines.insert(
                        0,
                        format!(
                            "{} {} is installed and starts with the next boot",
                            release.compatible, release.version
                        ),
                    );
                    Step::Reboot
                }
                Some(false) => {
                    lines.insert(
                    0,
                    format!(
                        "nothing to install: {} {} lies in the other slot, and somebody went back \
                            from it; `daruma rollback` starts it again",
                        release.compatible, release.version
                    ),
                );
                    Step::Nothing
                }
                None => {
                    lines.insert(
                        0,
                        format!(
                            "{} {} (build {}, at most {}) is to be installed over {}",
                            release.compatible,
                            release.version,
                            release.build,
                            megabytes(release.size),
                            own.version
                        ),
                    );
                    Step::Install(Box::new(release.clone()), deltas.into_iter().cloned().collect())
                }
            }
        }
    };
    asked.lies_there(&step);
    asked.lines.clone_from(&lines);
    Ok(Plan { step, withdrawal, lines, asked })
}

/// The release that a device runs which has installed nothing yet: its build, as the channel lists
/// it.
fn listed(channel: &Channel, own: &Own) -> Option<Sha256> {
    let release = channel.release(&own.compatible, &own.version)?;
    (release.build.as_str() == own.build).then_some(release.manifest_sha256)
}

/// Whether `release` lies in the slot that does not run, whole: on trial from the next boot (true),
/// or left by a person (false). What failed by itself is in quarantine.
fn lies_in_the_other_slot(device: &Device, release: &Release) -> Result<Option<bool>, Failure> {
    let other = !device.running()?;
    let (state, _) = StateFile::of(device).load();
    let is_it = |installed: &crate::status::state::Installed| {
        installed.manifest_sha256 == release.manifest_sha256.to_string()
    };
    if !state.installed.get(other.name()).is_some_and(is_it) {
        return Ok(None);
    }
    let boot = Environment::load(device)?.state();
    Ok(boot.slot(other).ok.then_some(boot.trial == Some(other)))
}

fn remarks(decision: &Decision<'_>, own: &Own) -> Vec<String> {
    let mut lines = Vec::new();
    if own.now < decision.now {
        lines.push(format!(
            "the clock says {}, and the channel was made on {}: the clock is wrong, and the \
                latter counts",
            own.now, decision.now
        ));
    }
    if let Some(reason) = decision.running_withdrawn {
        lines.push(format!("the running {} was withdrawn by its publisher: {reason}", own.version));
    }
    for passed in &decision.passed_over {
        lines.push(format!("{} is not taken: {}", passed.release.version, passed.reason));
    }
    if own.id.is_empty() {
        lines.push(
            "this device has no id, and comes last in every roll-out; give it one (device-id of \
                [channel])"
                .to_owned(),
        );
    }
    lines
}

/// `daruma check`: whether there is something to install, what, and why not.
///
/// # Errors
/// As [`plan`].
pub fn check(device: &Device, config: &Config, interrupt: &Interrupt) -> Result<Asked, Failure> {
    plan(&Source::of(device, config)?, interrupt).map(|plan| plan.asked)
}
