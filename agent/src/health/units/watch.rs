//! Watches the units that must work, from look to look.
//!
//! `standing` judges one look. Two looks in a row must agree, so a service that dies seconds after
//! its start is not taken for a healthy one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Baseline as Mode};
use crate::console::warn;
use crate::device::Device;
use crate::health::check::Failed;
use crate::health::units::baseline::Expected;
use crate::health::units::standing::{Reading, Standing};
use crate::health::units::systemd;

/// Time that a unit must stay failed until the system is given up before its deadline. systemd
/// calls a unit failed only when it will not restart it by itself. A timer, a path or a script may
/// still do so within this time.
const STAYS_FAILED: Duration = Duration::from_secs(30);

/// What the units say after a look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// All units worked at this look and at the one before, without a restart in between.
    Fine,
    /// All units work at this look.
    FineOnce,
    /// Some unit does not work yet.
    NotYet(Failed),
    /// Some unit has failed and stays so.
    Lost(Failed),
}

/// The units that must work, and what the looks so far have shown.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    expected: Expected,
    /// The failed units, each with the time of the first look that found it failed.
    failed_since: BTreeMap<String, Instant>,
    /// The restarts of each unit at the last look.
    restarts: BTreeMap<String, u64>,
    was_fine: bool,
}

impl Watch {
    /// Returns the watch over the baseline, or over the units that the recipe names. With `first`,
    /// only the recipe's units count, and only where there is no baseline. `None`: no unit is
    /// judged.
    pub(crate) fn of(device: &Device, config: &config::Health, first: bool) -> Option<Self> {
        if config.baseline == Mode::Off || !systemd::is_there(device) {
            return None;
        }
        let mut complaint = None;
        let expected = Expected::of(device, config, &mut complaint);
        complaint.into_iter().for_each(warn);
        let is_passed_over = first && expected.version.is_some();
        (!is_passed_over && !expected.units.is_empty()).then(|| Self::over(expected))
    }

    fn over(expected: Expected) -> Self {
        Self { expected, failed_since: BTreeMap::new(), restarts: BTreeMap::new(), was_fine: false }
    }

    /// Returns the number of units that are watched.
    pub(crate) fn count(&self) -> usize {
        self.expected.units.len()
    }

    /// Asks systemd once, within `limit`.
    pub(crate) async fn look(&mut self, limit: Duration) -> Look {
        match systemd::read_wanted(limit).await {
            Ok(reading) => self.judge(&reading, Instant::now()),
            Err(cause) => {
                self.was_fine = false;
                Look::NotYet(Failed::of_units(format!("asking systemd for its units: {cause}")))
            }
        }
    }

    fn judge(&mut self, reading: &Reading, now: Instant) -> Look {
        let mut problems = Vec::new();
        let mut failed = Vec::new();
        let mut is_lost = false;
        for name in &self.expected.units {
            let restarts = reading.units.get(name).map_or(0, |unit| unit.restarts);
            let before = self.restarts.insert(name.clone(), restarts);
            let standing = reading.standing(name);
            if let Standing::Failed(why) = &standing {
                let since = *self.failed_since.entry(name.clone()).or_insert(now);
                is_lost |= now.duration_since(since) >= STAYS_FAILED;
                failed.push(self.expected.sentence(name, why));
                continue;
            }
            self.failed_since.remove(name);
            match standing {
                Standing::Waits(why) => problems.push(self.expected.sentence(name, &why)),
                Standing::Works if before.is_some_and(|before| before < restarts) => {
                    problems.push(self.expected.sentence(name, "restarts again and again"));
                }
                _ => {}
            }
        }
        // What has failed is more likely the cause than what waits for it.
        failed.append(&mut problems);
        let was_fine = std::mem::replace(&mut self.was_fine, failed.is_empty());
        let others = failed.len().saturating_sub(1);
        match failed.into_iter().next() {
            None if was_fine => Look::Fine,
            None => Look::FineOnce,
            Some(mut line) => {
                if others > 0 {
                    line += &format!(" (and {others} more)");
                }
                let failed = Failed::of_units(line);
                if is_lost { Look::Lost(failed) } else { Look::NotYet(failed) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::units::unit::parse_units;

    /// Looks at `a.service`, with these properties, at the second that stands before each.
    fn looks(looks: &[(u64, &str)]) -> Vec<String> {
        let start = Instant::now();
        let units = ["a.service".to_owned()].into();
        let mut watch = Watch::over(Expected { units, version: Some("1.0.0".to_owned()) });
        let say = |(second, properties): &(u64, &str)| {
            let text = format!("Id=a.service\nLoadState=loaded\n{}", properties.replace(' ', "\n"));
            let wanted = ["a.service".to_owned()].into();
            let reading = Reading { wanted, units: parse_units(&text) };
            match watch.judge(&reading, start + Duration::from_secs(*second)) {
                Look::Fine => "fine".to_owned(),
                Look::FineOnce => "once".to_owned(),
                Look::NotYet(failed) => format!("not yet: {failed}"),
                Look::Lost(failed) => format!("lost: {failed}"),
            }
        };
        looks.iter().map(say).collect()
    }

    const UP: &str = "ActiveState=active NRestarts=0";
    const FAILED: &str = "ActiveState=failed Result=exit-code";

    #[test]
    fn two_looks_in_a_row_must_find_it_active() {
        assert_eq!(looks(&[(0, UP), (5, UP)]), ["once", "fine"]);
        let said = looks(&[(0, UP), (5, FAILED), (10, UP), (15, UP)]);
        let failed = "not yet: unit a.service was active in 1.0.0 and has failed (exit-code)";
        assert_eq!(said, ["once", failed, "once", "fine"]);
    }

    #[test]
    fn a_slow_starter_is_waited_for() {
        let starting = "ActiveState=activating SubState=start";
        let said = looks(&[(0, starting), (200, starting), (250, UP), (255, UP)]);
        let wait = "not yet: unit a.service was active in 1.0.0 and is still starting (start)";
        assert_eq!(said, [wait, wait, "once", "fine"]);
    }

    #[test]
    fn a_unit_that_restarts_between_two_looks_does_not_work() {
        let restarted = |count: u32| format!("ActiveState=active NRestarts={count}");
        let (one, two) = (restarted(1), restarted(2));
        let said = looks(&[(0, UP), (5, &one), (10, &two), (15, &two), (20, &two)]);
        let flaps = "not yet: unit a.service was active in 1.0.0 and restarts again and again";
        assert_eq!(said, ["once", flaps, flaps, "once", "fine"]);
    }

    #[test]
    fn a_unit_that_stays_failed_is_lost_and_one_that_comes_back_is_not() {
        let failed = "unit a.service was active in 1.0.0 and has failed (exit-code)";
        let (not_yet, lost) = (format!("not yet: {failed}"), format!("lost: {failed}"));
        let said = looks(&[(0, FAILED), (29, FAILED), (30, FAILED)]);
        assert_eq!(said, [not_yet.as_str(), &not_yet, &lost]);
        let said = looks(&[(0, FAILED), (29, UP), (31, FAILED), (60, FAILED)]);
        assert_eq!(said, [not_yet.as_str(), "once", &not_yet, &not_yet]);
    }

    #[test]
    fn the_first_failed_unit_is_named_before_those_that_wait() {
        let text = "Id=a.service\nLoadState=loaded\nActiveState=inactive\n\nId=b.service\n\
            LoadState=loaded\nActiveState=failed\nResult=signal\n";
        let names = ["a.service", "b.service"].map(str::to_owned);
        let expected = Expected { units: names.clone().into(), version: None };
        let reading = Reading { wanted: names.into(), units: parse_units(text) };
        let Look::NotYet(failed) = Watch::over(expected).judge(&reading, Instant::now()) else {
            panic!("all is well");
        };
        let line = "unit b.service is one of the recipe's health-units and has failed (signal) \
            (and 1 more)";
        assert_eq!(failed.to_string(), line);
    }
}
