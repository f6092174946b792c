//! Tells the channel's server once how a release ended on this device.
//!
//! `bundle::channel::Report` defines the text, and the publisher finds the text in the server's
//! log. The report causes no request of its own: the next poll carries it.

use bundle::Sha256;
use bundle::channel::{Outcome, Report};

use crate::channel::contact::source::Source;
use crate::status::state::Untold;
use crate::status::state_file::StateFile;

/// Returns the report for the next request. `None`: there is nothing to tell.
pub(crate) fn untold(source: &Source<'_>) -> Option<Report> {
    if !source.config.channel.report {
        return None;
    }
    let Untold { manifest_sha256, fell_back } = StateFile::of(source.device).load().0.untold?;
    let outcome = if fell_back { Outcome::FellBack } else { Outcome::Committed };
    Some(Report::new(Sha256::try_from(manifest_sha256).ok()?, outcome))
}

/// Remembers that it was told. Takes the lock, because an install changes the same file. If another
/// process holds the lock, it is told once more.
pub(crate) fn told(source: &Source<'_>) {
    if let Ok(_lock) = source.device.lock() {
        StateFile::of(source.device).change(|state| state.untold = None);
    }
}
