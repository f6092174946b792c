//! Polls the channel and plans: the next step and its reasons, for a person and for the daemon.
//!
//! `contact/` fetches the channel, and `step` chooses the step. Planning changes nothing on the
//! device, except that it keeps a newer channel.

use bundle::Sha256;
use bundle::channel::{Channel, Decision, Verdict, decide};

use crate::channel::asked::Asked;
use crate::channel::contact::refresh::{Fresh, refresh, refused};
use crate::channel::contact::source::Source;
use crate::channel::facts::Own;
use crate::channel::step::Step;
use crate::channel::withdrawal::Withdrawal;
use crate::config::Config;
use crate::device::Device;
use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// The next step, and why.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) step: Step,
    /// A trial to cancel first.
    pub(crate) withdrawal: Option<Withdrawal>,
    /// Lines for a person. The first one is the verdict.
    pub(crate) lines: Vec<String>,
    /// The same for programs.
    pub(crate) asked: Asked,
}

impl Plan {
    /// Cancels a pending trial. If one was cancelled, removes the announcement from the lines.
    /// Returns what to tell.
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
/// The channel cannot be fetched, is not believed, or is not fresh.
pub(crate) fn plan(source: &Source<'_>, interrupt: &Interrupt) -> Result<Plan, Failure> {
    let Fresh { trust, channel } = refresh(source, interrupt)?;
    let mut own = Own::gather(source.device, source.config)?;
    own.manifest = own.manifest.or_else(|| listed(&channel, &own));
    let decision = decide(&channel, &trust.root, &own.facts(channel.serial));
    let withdrawal = Withdrawal::find(source.device, &channel, &own)?;
    if let Verdict::Refuse(error) = &decision.verdict {
        return Err(refused(&source.shown(&format!("{}.channel.json", channel.name)), error));
    }
    let (step, verdict) = Step::of(source.device, &decision, &own)?;
    let mut lines = vec![verdict];
    lines.extend(remarks(&decision, &own));
    lines.extend(withdrawal.as_ref().map(Withdrawal::announced));
    let asked = Asked::of(&decision, &own, withdrawal.as_ref(), &step, &lines);
    Ok(Plan { step, withdrawal, lines, asked })
}

/// Returns the manifest of the running release, if nothing was installed yet: the channel lists it
/// by its build.
fn listed(channel: &Channel, own: &Own) -> Option<Sha256> {
    let release = channel.release(&own.compatible, &own.version)?;
    (release.build.as_str() == own.build).then_some(release.manifest_sha256)
}

fn remarks(decision: &Decision<'_>, own: &Own) -> Vec<String> {
    let mut lines = Vec::new();
    if own.now < decision.now {
        lines.push(format!(
            "the clock says {}, and the channel was made on {}: the clock is wrong, and the \
                channel's date counts",
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
            "this device has no id, and comes last in every roll-out; set device-id of [channel]"
                .to_owned(),
        );
    }
    lines
}

/// `daruma check`: says if there is a release to install, which one, and why or why not.
///
/// # Errors
/// The channel cannot be fetched, is not believed, or is not fresh.
pub fn check(device: &Device, config: &Config, interrupt: &Interrupt) -> Result<Asked, Failure> {
    plan(&Source::of(device, config)?, interrupt).map(|plan| plan.asked)
}
