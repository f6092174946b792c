//! Judges one unit at one moment, and what the units of a system say together.
//!
//! `watch` looks several times. Everything here is a function of plain data.

use std::collections::{BTreeMap, BTreeSet};

use crate::health::units::unit::{Phase, Unit};

/// The units of the running system at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reading {
    /// What the default target wants, directly or through other targets.
    pub(super) wanted: BTreeSet<String>,
    /// What systemd says about the wanted and the failed units.
    pub(super) units: BTreeMap<String, Unit>,
}

/// What one unit says about the system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The unit does its work, or has done it.
    Works,
    /// The unit is not asked for: nobody wants it, it is gone or masked, or its condition does not
    /// hold.
    NotAsked,
    /// The unit may still become active. Holds the end of the sentence about it.
    Waits(String),
    /// systemd has given the unit up. Holds the end of the sentence about it.
    Failed(String),
}

impl Reading {
    /// Judges the unit `name`.
    pub(super) fn standing(&self, name: &str) -> Standing {
        let wanted = self.wanted.contains(name);
        let Some(unit) = self.units.get(name).filter(|_| wanted) else {
            return Standing::NotAsked;
        };
        if let Some(why) = &unit.broken {
            return Standing::Failed(format!("cannot be loaded ({why})"));
        }
        if !unit.is_there {
            return Standing::NotAsked;
        }
        match unit.phase {
            Phase::Up => Standing::Works,
            Phase::Failed => Standing::Failed(format!("has failed ({})", unit.result)),
            Phase::Starting if unit.sub.starts_with("auto-restart") => {
                Standing::Waits(format!("restarts again and again ({})", unit.result))
            }
            Phase::Starting => Standing::Waits(format!("is still starting ({})", unit.sub)),
            Phase::Down if unit.is_skipped => Standing::NotAsked,
            Phase::Down if unit.has_finished() => Standing::Works,
            // Its socket or timer starts it when there is work.
            Phase::Down if unit.succeeded() && self.wants_any(&unit.triggered_by) => {
                Standing::Works
            }
            Phase::Down if unit.has_ended => Standing::Waits("is not active any more".into()),
            Phase::Down => Standing::Waits("has not become active".into()),
        }
    }

    /// Returns the wanted units that are active or have finished their work, each with the number
    /// of its restarts.
    pub(super) fn up(&self) -> BTreeMap<&str, u64> {
        let up = self.wanted.iter().filter_map(|name| {
            let unit =
                self.units.get(name).filter(|unit| unit.is_there && unit.broken.is_none())?;
            let is_up = unit.phase == Phase::Up
                || unit.phase == Phase::Down && !unit.is_skipped && unit.has_finished();
            is_up.then_some((name.as_str(), unit.restarts))
        });
        up.collect()
    }

    /// Returns true if a wanted unit is still starting. A unit that systemd restarts again and
    /// again does not count: it may do so for ever.
    pub(super) fn is_starting(&self) -> bool {
        self.wanted
            .iter()
            .filter_map(|name| self.units.get(name))
            .any(|unit| unit.phase == Phase::Starting && !unit.sub.starts_with("auto-restart"))
    }

    /// Returns the failed units, each with the end of the sentence about it.
    pub(super) fn failed(&self) -> impl Iterator<Item = (&str, String)> {
        let failed = self.units.iter().filter(|(_, unit)| unit.phase == Phase::Failed);
        failed.map(|(name, unit)| (name.as_str(), format!("has failed ({})", unit.result)))
    }

    fn wants_any(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.wanted.contains(name))
    }
}

impl Unit {
    fn succeeded(&self) -> bool {
        ["", "success"].contains(&self.result.as_str())
    }

    /// Returns true if the unit is a one-shot that ran and succeeded.
    fn has_finished(&self) -> bool {
        self.is_oneshot && self.has_ended && self.succeeded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::units::unit::parse_units;

    const WORKS: &str = "works";
    const NOT_ASKED: &str = "not asked";

    /// case, wanted, properties besides the name, what the unit says
    const CASES: [(&str, bool, &str, &str); 24] = [
        ("active", true, "ActiveState=active SubState=running", WORKS),
        ("reloading", true, "ActiveState=reloading", WORKS),
        ("failed", true, "ActiveState=failed Result=exit-code", "failed: has failed (exit-code)"),
        (
            "out of starts",
            true,
            "ActiveState=failed Result=start-limit-hit",
            "failed: has failed (start-limit-hit)",
        ),
        ("failed, nobody wants it", false, "ActiveState=failed Result=exit-code", NOT_ASKED),
        ("dropped by the new system", true, "LoadState=not-found ActiveState=inactive", NOT_ASKED),
        ("masked", true, "LoadState=masked ActiveState=inactive", NOT_ASKED),
        ("disabled by a person, file still there", false, "ActiveState=inactive", NOT_ASKED),
        (
            "a unit file with a mistake",
            true,
            "LoadState=bad-setting ActiveState=inactive",
            "failed: cannot be loaded (bad-setting)",
        ),
        (
            "never started",
            true,
            "ActiveState=inactive SubState=dead Result=success",
            "waits: has not become active",
        ),
        (
            "a daemon that ended",
            true,
            "ActiveState=inactive Type=simple Result=success InactiveEnterTimestampMonotonic=7",
            "waits: is not active any more",
        ),
        (
            "slow starter",
            true,
            "ActiveState=activating SubState=start-pre",
            "waits: is still starting (start-pre)",
        ),
        (
            "flapping",
            true,
            "ActiveState=activating SubState=auto-restart Result=exit-code",
            "waits: restarts again and again (exit-code)",
        ),
        (
            "flapping, systemd 254 and later",
            true,
            "ActiveState=activating SubState=auto-restart-queued Result=signal",
            "waits: restarts again and again (signal)",
        ),
        (
            "one-shot that runs",
            true,
            "ActiveState=activating SubState=start Type=oneshot",
            "waits: is still starting (start)",
        ),
        (
            "one-shot that stays active",
            true,
            "ActiveState=active SubState=exited Type=oneshot",
            WORKS,
        ),
        (
            "one-shot that finished",
            true,
            "ActiveState=inactive Type=oneshot Result=success InactiveEnterTimestampMonotonic=7",
            WORKS,
        ),
        (
            "one-shot that never ran",
            true,
            "ActiveState=inactive Type=oneshot Result=success InactiveEnterTimestampMonotonic=0",
            "waits: has not become active",
        ),
        (
            "one-shot that failed",
            true,
            "ActiveState=failed Type=oneshot Result=exit-code",
            "failed: has failed (exit-code)",
        ),
        (
            "its condition does not hold",
            true,
            "ActiveState=inactive ConditionResult=no ConditionTimestampMonotonic=7",
            NOT_ASKED,
        ),
        (
            "its condition was not looked at yet",
            true,
            "ActiveState=inactive ConditionResult=no ConditionTimestampMonotonic=0",
            "waits: has not become active",
        ),
        (
            "its socket waits for work",
            true,
            "ActiveState=inactive TriggeredBy=wanted.socket",
            WORKS,
        ),
        (
            "its socket is not wanted",
            true,
            "ActiveState=inactive TriggeredBy=other.socket",
            "waits: has not become active",
        ),
        (
            "failed when its socket called it",
            true,
            "ActiveState=failed Result=exit-code TriggeredBy=wanted.socket",
            "failed: has failed (exit-code)",
        ),
    ];

    #[test]
    fn every_state_of_a_unit_has_its_standing() {
        for (case, wanted, properties, said) in CASES {
            for name in ["a.service", "a@1.service"] {
                let loaded =
                    if properties.contains("LoadState=") { "" } else { "LoadState=loaded" };
                let text = format!("Id={name}\n{loaded}\n{}", properties.replace(' ', "\n"));
                let text = text.replace("\n\n", "\n");
                let mut reading = Reading { units: parse_units(&text), ..Reading::default() };
                reading.wanted.insert("wanted.socket".to_owned());
                if wanted {
                    reading.wanted.insert(name.to_owned());
                }
                let found = match reading.standing(name) {
                    Standing::Works => WORKS.to_owned(),
                    Standing::NotAsked => NOT_ASKED.to_owned(),
                    Standing::Waits(why) => format!("waits: {why}"),
                    Standing::Failed(why) => format!("failed: {why}"),
                };
                assert_eq!(found, said, "{case}");
                // Another instance of the template says nothing about this one.
                assert_eq!(reading.standing("a@2.service"), Standing::NotAsked, "{case}");
                let is_up = wanted && said == WORKS && !properties.contains("TriggeredBy");
                assert_eq!(reading.up().contains_key(name), is_up, "{case}");
            }
        }
    }
}
