//! Telling the channel's server what became of a release: once, with a request that is made anyway.
//! What is told is in `bundle::channel::Report`; the server's log is where the publisher finds it.

use bundle::Sha256;
use bundle::channel::{Outcome, Report};

use crate::channel::contact::source::Source;
use crate::status::state::Untold;
use crate::status::state_file::StateFile;

/// What is to be told with the next request.
pub(crate) fn untold(source: &Source<'_>) -> Option<Report> {
    if !source.config.channel.report {
        return None;
    }
    let Untold { manifest_sha256, fell_back } = StateFile::of(source.device).load().0.untold?;
    let outcome = if fell_back { Outcome::FellBack } else { Outcome::Committed };
    Some(Report::new(Sha256::try_from(manifest_sha256).ok()?, outcome))
}

/// Remembers that it was told. Under the lock, because an install changes the same file; when
/// somebody else has that, it is told once more.
pub(crate) fn told(source: &Source<'_>) {
    if let Ok(_lock) = source.device.lock() {
        StateFile::of(source.device).change(|state| state.untold = None);
    }
}
