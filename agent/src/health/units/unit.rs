//! One systemd unit as plain data, and the parsers of what `systemctl` prints.
//!
//! `systemd` runs the program, and `standing` judges. A property that systemd does not have for a
//! kind of unit is missing in the text, and takes its default.

use std::collections::{BTreeMap, BTreeSet};

/// The properties that [`parse_units`] reads, as `systemctl show --property=` takes them.
pub(super) const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,Type,Result,NRestarts,\
    ConditionResult,ConditionTimestampMonotonic,InactiveEnterTimestampMonotonic,TriggeredBy";

/// The kinds of units that are kept and judged.
const KINDS: [&str; 4] = [".service", ".socket", ".mount", ".timer"];

/// A unit, as systemd sees it at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unit {
    /// True if the unit is in the system and nobody has masked it.
    pub(super) is_there: bool,
    /// Why systemd cannot use the unit's file, such as `bad-setting`.
    pub(super) broken: Option<String>,
    pub(super) phase: Phase,
    /// The state in the words of this kind of unit, such as `auto-restart`.
    pub(super) sub: String,
    pub(super) is_oneshot: bool,
    /// How the last run ended, such as `success` or `exit-code`.
    pub(super) result: String,
    /// How often systemd has restarted the unit by itself.
    pub(super) restarts: u64,
    /// True if the unit has become inactive after it was something else.
    pub(super) has_ended: bool,
    /// True if systemd did not start the unit, because a condition did not hold.
    pub(super) is_skipped: bool,
    /// The sockets, timers and paths that start the unit.
    pub(super) triggered_by: Vec<String>,
}

/// The state that all kinds of units have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Phase {
    Up,
    Starting,
    Failed,
    /// Inactive, or on the way there.
    #[default]
    Down,
}

/// Reads what `systemctl show` prints: a block of `key=value` lines for each unit. Returns the
/// units by name. A block without a name is passed over.
#[must_use]
pub fn parse_units(text: &str) -> BTreeMap<String, Unit> {
    text.split("\n\n").filter_map(parse_unit).collect()
}

fn parse_unit(block: &str) -> Option<(String, Unit)> {
    let mut name = None;
    let (mut condition, mut condition_asked) = (true, false);
    let mut unit = Unit::default();
    for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
        let happened = !["", "0"].contains(&value);
        match key {
            "Id" => name = Some(value.to_owned()),
            "LoadState" => match value {
                "loaded" => unit.is_there = true,
                "not-found" | "masked" | "stub" | "merged" => {}
                other => unit.broken = Some(other.to_owned()),
            },
            "ActiveState" => {
                unit.phase = match value {
                    "active" | "reloading" | "refreshing" => Phase::Up,
                    "activating" => Phase::Starting,
                    "failed" | "maintenance" => Phase::Failed,
                    _ => Phase::Down,
                }
            }
            "SubState" => value.clone_into(&mut unit.sub),
            "Type" => unit.is_oneshot = value == "oneshot",
            "Result" => value.clone_into(&mut unit.result),
            "NRestarts" => unit.restarts = value.parse().unwrap_or(0),
            // Before the first start, systemd says `no` here without having asked.
            "ConditionResult" => condition = value == "yes",
            "ConditionTimestampMonotonic" => condition_asked = happened,
            "InactiveEnterTimestampMonotonic" => unit.has_ended = happened,
            "TriggeredBy" => {
                unit.triggered_by = value.split_ascii_whitespace().map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    unit.is_skipped = condition_asked && !condition;
    Some((name.filter(|name| is_judged(name))?, unit))
}

/// Reads what `systemctl list-dependencies` or `list-units` prints with `--plain`. Returns the
/// names of the units of the kinds that are judged.
#[must_use]
pub fn parse_wanted(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
    names.filter(|name| is_judged(name)).map(str::to_owned).collect()
}

/// Returns true if units of this kind are judged, and the name can stand in a message.
fn is_judged(name: &str) -> bool {
    KINDS.iter().any(|kind| name.ends_with(kind))
        && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dependencies_of_a_target_are_read() {
        let text = "default.target\n  ssh.service\n  basic.target\n    tmp.mount\n    -.slice\n  \
            getty@tty1.service\n";
        let wanted: Vec<_> = parse_wanted(text).into_iter().collect();
        assert_eq!(wanted, ["getty@tty1.service", "ssh.service", "tmp.mount"]);
    }

    #[test]
    fn blocks_of_properties_are_read() {
        let text = "Id=a.service\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\n\
            Type=simple\nResult=exit-code\nNRestarts=3\nTriggeredBy=a.socket b.timer\n\
            ConditionResult=no\nConditionTimestampMonotonic=0\n\nId=gone.mount\n\
            LoadState=not-found\nActiveState=inactive\n\nnothing\n\nId=x.target\n";
        let units = parse_units(text);
        assert_eq!(units.len(), 2);
        let unit = &units["a.service"];
        assert!(unit.is_there && !unit.is_skipped && !unit.is_oneshot);
        assert_eq!((unit.phase, unit.restarts), (Phase::Starting, 3));
        assert_eq!(unit.triggered_by, ["a.socket", "b.timer"]);
        assert!(!units["gone.mount"].is_there);
    }
}
