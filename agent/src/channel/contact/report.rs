//! Tells the channel's server once what became of a release.
//!
//! `bundle::channel::Report` says what is told; the log of the server is where the publisher finds
//! it.
//! No request is made for it: it goes along with the next look.

use bundle::Sha256;
use bundle::channel::{Outcome, Report};

use crate::channel::contact::source::Source;
use crate::status::state::Untold;
use crate::status::state_file::StateFile;

/// The report for the next request. `None`: there is nothing to tell.
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
