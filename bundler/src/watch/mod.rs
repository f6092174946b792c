//! Stopping a release that fails: a static server cannot think, but it keeps an access log, and
//! devices say there what became of a release ([`bundle::channel::Report`]).

mod rule;
mod tally;

pub use rule::StopRule;
pub use tally::{Results, Tally};

use bundle::channel::{Channel, Release};

/// What a log says of a release.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// The release.
    pub release: &'a Release,
    /// What became of it.
    pub results: Results,
    /// Whether it is to be withdrawn.
    pub stops: bool,
}

/// What is known of the channel's releases, in the channel's order; of those that nobody has tried,
/// nothing.
#[must_use]
pub fn findings<'a>(channel: &'a Channel, tally: &Tally, rule: StopRule) -> Vec<Finding<'a>> {
    let find = |release: &'a Release| {
        let results = tally.results(release.manifest_sha256);
        let stops = release.withdrawn.is_none() && rule.stops(results);
        Finding { release, results, stops }
    };
    channel.releases.iter().map(find).filter(|finding| finding.results.total() > 0).collect()
}
