//! The rule that stops a release.
//!
//! `tally` counts the results, and the publisher stops the release. A release is stopped if its
//! share of failures is surely above a limit.

use crate::fleet::share::Share;
use crate::fleet::watch::tally::Results;

/// Fewest results that can stop a release. 1 failure of 3 stops nothing.
const RESULTS_MIN: u64 = 50;
/// Fewest failures that can stop a release. Some device always has a broken disk or a pulled plug.
const FAILURES_MIN: u64 = 5;
/// How sure the rule must be, in standard deviations. 3 is 99.87 % for one look. The publisher
/// looks often, so the certainty over a whole roll-out is lower; the test below has the figure.
const DEVIATIONS: f64 = 3.0;

/// Stops a release if the share of devices that fell back is surely above a limit. The share is
/// among the devices that tried the release and reported it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StopRule {
    /// The limit.
    pub above: Share,
}

impl StopRule {
    /// Returns true if these results ask for a stop.
    #[must_use]
    pub fn stops(&self, results: Results) -> bool {
        results.total() >= RESULTS_MIN
            && results.fell_back >= FAILURES_MIN
            && self.at_least(results) > self.above
    }

    /// Returns the lower limit of the share of failures: the lower end of the Wilson score interval
    /// (E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
    /// 1927).
    #[must_use]
    pub fn at_least(&self, results: Results) -> Share {
        let n = results.total() as f64;
        if n == 0.0 {
            return Share::of(0, 1);
        }
        let (share, z2) = (results.failed().fraction(), DEVIATIONS * DEVIATIONS);
        let centre = share + z2 / (2.0 * n);
        let half = DEVIATIONS * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
        Share::from_fraction((centre - half) / (1.0 + z2 / n))
    }

    /// Returns the reason for withdrawing a release, in one line that devices show.
    #[must_use]
    pub fn reason(&self, results: Results) -> String {
        format!(
            "{} of {} devices that tried it fell back ({}, surely more than {}; the limit is {})",
            results.fell_back,
            results.total(),
            results.failed(),
            self.at_least(results),
            self.above
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::random::Random;

    fn rule() -> StopRule {
        StopRule { above: Share::of(1, 100) }
    }

    fn results(fell_back: u64, total: u64) -> Results {
        Results { committed: total - fell_back, fell_back }
    }

    #[test]
    fn a_few_failures_among_a_few_devices_stop_nothing() {
        for (fell_back, total) in
            [(0, 0), (1, 3), (3, 3), (40, 49), (4, 50), (0, 1_000_000), (250, 12_000)]
        {
            assert_eq!(
                rule().stops(results(fell_back, total)),
                fell_back == 250,
                "{fell_back} of {total}"
            );
        }
    }

    #[test]
    fn the_lower_bound_is_wilsons() {
        // p = 30 / 1000, n = 1000, z = 3: (p + z²/2n - z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
        assert!((rule().at_least(results(30, 1000)).fraction() - 0.017545).abs() < 0.000_001);
        assert_eq!(rule().at_least(results(0, 1000)).fraction(), 0.0);
    }

    /// Simulates `runs` roll-outs to 20,000 devices that fail at `rate`. The rule looks after every
    /// 50 results. Returns how many roll-outs are stopped.
    fn stopped(runs: u64, rate: f64) -> usize {
        let run = |seed: &u64| {
            let mut random = Random::new(*seed, 0);
            let mut so_far = results(0, 0);
            (0..400).any(|_| {
                for _ in 0..50 {
                    match random.happens(Share::from_fraction(rate)) {
                        true => so_far.fell_back += 1,
                        false => so_far.committed += 1,
                    }
                }
                rule().stops(so_far)
            })
        };
        (0..runs).filter(run).count()
    }

    #[test]
    fn good_releases_are_rarely_stopped_and_bad_ones_always() {
        let (good, at_limit, bad) = (stopped(300, 0.005), stopped(300, 0.01), stopped(300, 0.02));
        println!(
            "stopped of 300: {good} at half the limit, {at_limit} at the limit, {bad} at twice \
                the limit"
        );
        assert!(good <= 3 && at_limit <= 30 && bad == 300);
    }
}
