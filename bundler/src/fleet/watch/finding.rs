//! What a server's log says of the releases of a channel.
//!
//! `tally` counts and `rule` decides. A release that nobody has tried is not in the list.

use bundle::channel::{Channel, Release};

use crate::fleet::watch::rule::StopRule;
use crate::fleet::watch::tally::{Results, Tally};

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
