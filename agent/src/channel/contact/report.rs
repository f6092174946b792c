//! Tells the channel's server once how a release ended on this device, and at each poll that /var
//! is broken.
//!
//! `bundle::channel::Report` defines the first text, and the publisher finds it in the server's
//! log. Neither text causes a request of its own: the next poll carries both.

use bundle::Sha256;
use bundle::channel::{Outcome, Report};

use crate::channel::contact::source::Source;
use crate::status::state::Untold;
use crate::status::state_file::StateFile;
use crate::status::var::Var;

/// Returns the report for the next request. `None`: there is nothing to tell.
pub(crate) fn untold(source: &Source<'_>) -> Option<Report> {
    if !source.config.channel.report {
        return None;
    }
    let Untold { manifest_sha256, fell_back } = StateFile::of(source.device).load().0.untold?;
    let outcome = if fell_back { Outcome::FellBack } else { Outcome::Committed };
    Some(Report::new(Sha256::try_from(manifest_sha256).ok()?, outcome))
}

/// Returns what the next request says: the report, and a word about a broken /var.
pub(crate) fn words(source: &Source<'_>, report: Option<Report>) -> Option<String> {
    let var = Var::of(source.device).and_then(Var::word).filter(|_| source.config.channel.report);
    let report = report.map(|report| report.to_string());
    let words: Vec<String> = report.into_iter().chain(var.map(str::to_owned)).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Remembers that it was told. Takes the lock, because an install changes the same file. If another
/// process holds the lock, it is told once more.
pub(crate) fn told(source: &Source<'_>) {
    if let Ok(_lock) = source.device.lock() {
        StateFile::of(source.device).change(|state| state.untold = None);
    }
}
