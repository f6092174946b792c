//! The results of each release of a channel, by a server's log.
//!
//! `tally` counts and `rule` decides. A release that no device has tried is not in the list.

use bundle::channel::{Channel, Release};

use crate::fleet::watch::rule::StopRule;
use crate::fleet::watch::tally::{Results, Tally};

/// What a log says about a release.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// The release.
    pub release: &'a Release,
    /// The results of the release.
    pub results: Results,
    /// True if the release should be withdrawn.
    pub stops: bool,
}

/// Returns the findings about the channel's releases, in the channel's order. A release that nobody
/// has tried has no finding.
#[must_use]
pub fn findings<'a>(channel: &'a Channel, tally: &Tally, rule: StopRule) -> Vec<Finding<'a>> {
    let find = |release: &'a Release| {
        let results = tally.results(release.manifest_sha256);
        let stops = release.withdrawn.is_none() && rule.stops(results);
        Finding { release, results, stops }
    };
    channel.releases.iter().map(find).filter(|finding| finding.results.total() > 0).collect()
}
