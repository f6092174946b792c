//! The agent's memory between boots: the content of `state.json`.
//!
//! `state_file` loads and stores it. The state only explains what happened. The GRUB environment
//! decides what boots.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use image_layout::Slot;
use semver::Version;
use serde::{Deserialize, Serialize};

/// Events that are kept. The oldest go first.
const EVENTS_KEPT: usize = 64;
/// Manifests that stay in quarantine. The oldest go first.
const QUARANTINED_KEPT: usize = 64;

/// The content of the file. Unknown fields are ignored on purpose: a fall-back brings back an older
/// agent, which must read what a newer one wrote.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The last install into each slot, by slot name.
    pub installed: BTreeMap<String, Installed>,
    /// Past events, oldest first.
    pub events: Vec<Event>,
    /// Bundles that failed on this device. The agent does not install them again by itself.
    pub quarantined: Vec<Quarantined>,
    /// The report that the channel's server was not told yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untold: Option<Untold>,
}

/// An install that was written and read back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Installed {
    /// The bundle's version.
    pub version: String,
    /// The bundle's build id.
    pub build: String,
    /// SHA-256 of the signed manifest, hex.
    pub manifest_sha256: String,
    /// Seconds since 1970 by the device's clock, which may be wrong.
    pub time_s: u64,
}

/// Something that happened to this device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since 1970 by the device's clock, which may be wrong.
    pub time_s: u64,
    /// The kind of event.
    pub kind: Kind,
    /// The slot that the event happened to.
    pub slot: String,
    /// The version in that slot, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why, or what exactly: one line, may be empty.
    #[serde(default)]
    pub reason: String,
}

/// The kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A bundle was written into the slot, which is now on trial.
    Installed,
    /// The slot was on trial, became healthy and is committed now.
    Committed,
    /// The health checks of the slot did not pass in time.
    HealthFailed,
    /// daruma-init gave up the slot's boot.
    InitFailed,
    /// The other slot runs, because this one failed.
    FellBack,
    /// The slot runs but is not healthy, and there is nothing better to boot.
    Degraded,
    /// A degraded system became healthy.
    Recovered,
    /// A person marked the slot good.
    MarkedGood,
    /// A person marked the slot bad.
    MarkedBad,
    /// A person made the slot the next trial.
    RollBack,
    /// The publisher withdrew the release before its first boot. The slot is not on trial any more.
    Withdrawn,
    /// The boot environment was damaged and has been rebuilt.
    EnvironmentHealed,
    /// An event of a newer agent.
    #[serde(other)]
    Unknown,
}

/// The outcome of a release that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Untold {
    /// SHA-256 of its signed manifest, hex.
    pub manifest_sha256: String,
    /// True if the release failed and the other slot runs. False if it is committed.
    pub fell_back: bool,
}

/// A bundle that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantined {
    /// SHA-256 of its signed manifest, hex.
    pub manifest_sha256: String,
    /// Its version.
    pub version: String,
    /// Why it failed; one line.
    pub reason: String,
    /// When it was quarantined, in seconds since 1970.
    pub time_s: u64,
}

impl State {
    /// Adds an event that happens now.
    pub fn record(
        &mut self,
        kind: Kind,
        slot: Slot,
        version: Option<&Version>,
        reason: impl Into<String>,
    ) {
        self.events.push(Event {
            time_s: now_s(),
            kind,
            slot: slot.name().to_owned(),
            version: version.map(Version::to_string),
            reason: reason.into(),
        });
        let surplus = self.events.len().saturating_sub(EVENTS_KEPT);
        self.events.drain(..surplus);
    }

    /// Remembers the bundle that `slot` holds now.
    pub fn remember(&mut self, slot: Slot, version: &Version, build: &str, manifest_sha256: &str) {
        self.installed.insert(
            slot.name().to_owned(),
            Installed {
                version: version.to_string(),
                build: build.to_owned(),
                manifest_sha256: manifest_sha256.to_owned(),
                time_s: now_s(),
            },
        );
    }

    /// Notes what became of the release in `slot`, for the channel's server. Does nothing if the
    /// release is not known.
    pub fn owe_report(&mut self, slot: Slot, fell_back: bool) {
        if let Some(installed) = self.installed.get(slot.name()) {
            let manifest_sha256 = installed.manifest_sha256.clone();
            self.untold = Some(Untold { manifest_sha256, fell_back });
        }
    }

    /// Puts the bundle in `slot` into quarantine. `None`: the bundle is not known, because it is
    /// from a factory image or the file was lost.
    pub fn quarantine(&mut self, slot: Slot, reason: &str) -> Option<&Quarantined> {
        let installed = self.installed.get(slot.name())?;
        let entry = Quarantined {
            manifest_sha256: installed.manifest_sha256.clone(),
            version: installed.version.clone(),
            reason: reason.to_owned(),
            time_s: now_s(),
        };
        self.quarantined.retain(|other| other.manifest_sha256 != entry.manifest_sha256);
        self.quarantined.push(entry);
        let surplus = self.quarantined.len().saturating_sub(QUARANTINED_KEPT);
        self.quarantined.drain(..surplus);
        self.quarantined.last()
    }

    /// Returns the quarantine entry of a manifest.
    #[must_use]
    pub fn quarantined(&self, manifest_sha256: &str) -> Option<&Quarantined> {
        self.quarantined.iter().find(|entry| entry.manifest_sha256 == manifest_sha256)
    }

    /// Takes the bundle in `slot` out of quarantine: it became healthy, or a person says so.
    pub fn release(&mut self, slot: Slot) {
        if let Some(installed) = self.installed.get(slot.name()) {
            self.quarantined.retain(|entry| entry.manifest_sha256 != installed.manifest_sha256);
        }
    }

    /// Returns true if a person's roll-back, and no install, has put `slot` on trial last.
    #[must_use]
    pub fn was_rolled_back_to(&self, slot: Slot) -> bool {
        let mut of_slot = self.events.iter().filter(|event| event.slot == slot.name());
        let last = of_slot.rfind(|event| matches!(event.kind, Kind::Installed | Kind::RollBack));
        last.is_some_and(|event| event.kind == Kind::RollBack)
    }

    /// Returns the failures of `slot`, oldest first, since the last install into it or since it was
    /// last healthy.
    #[must_use]
    pub fn failures(&self, slot: Slot) -> Vec<&Event> {
        let of_slot = self.events.iter().filter(|event| event.slot == slot.name());
        let mut failures = Vec::new();
        for event in of_slot {
            match event.kind {
                Kind::HealthFailed | Kind::InitFailed => failures.push(event),
                Kind::Installed
                | Kind::Committed
                | Kind::RollBack
                | Kind::FellBack
                | Kind::MarkedGood => {
                    failures.clear();
                }
                _ => {}
            }
        }
        failures
    }
}

/// Returns seconds since 1970. 0 if the clock stands before 1970.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn an_older_agent_reads_what_a_newer_one_wrote() {
        let event = r#"{"time_s": 1, "kind": "levitated", "slot": "A", "x": 2}"#;
        let text = format!(r#"{{"new-field": 1, "events": [{event}]}}"#);
        let state: State = serde_json::from_str(&text).unwrap();
        assert_eq!(state.events[0].kind, Kind::Unknown);
    }

    #[test]
    fn old_events_make_room_for_new_ones() {
        let mut state = State::default();
        for number in 0..EVENTS_KEPT + 10 {
            state.record(Kind::Degraded, Slot::A, None, number.to_string());
        }
        assert_eq!(state.events.len(), EVENTS_KEPT);
        assert_eq!(state.events[0].reason, "10");
    }

    #[test]
    fn failures_before_the_last_install_do_not_count() {
        let mut state = State::default();
        state.record(Kind::HealthFailed, Slot::B, None, "old");
        state.record(Kind::Installed, Slot::B, None, "");
        state.record(Kind::InitFailed, Slot::B, None, "new");
        state.record(Kind::HealthFailed, Slot::A, None, "other");
        let reasons: Vec<_> =
            state.failures(Slot::B).iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(reasons, ["new"]);
    }

    #[test]
    fn what_proved_itself_leaves_the_quarantine() {
        let mut state = State::default();
        assert!(state.quarantine(Slot::B, "x").is_none(), "nothing is known about B");
        state.remember(Slot::B, &version("2.0.0"), "b2", "ab");
        state.quarantine(Slot::B, "x").unwrap();
        assert!(state.quarantined("ab").is_some());
        state.release(Slot::B);
        assert!(state.quarantined("ab").is_none());
    }
}
