//! The answer of `daruma check`, as JSON for programs and as lines for a person.
//!
//! `plan` decides. This file only puts the decision into fields. A field may be added, but a field
//! never changes its meaning.

use std::fmt;

use bundle::channel::{Decision, Reason, Timestamp, Verdict};
use serde::Serialize;

use crate::channel::facts::Own;
use crate::channel::step::Step;
use crate::channel::withdrawal::Withdrawal;
use crate::exit::one_line;

/// The answer of `daruma check`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Asked {
    /// `install`: a release is to be installed. `reboot`: it is installed and starts with the next
    /// boot. `nothing`.
    pub verdict: &'static str,
    /// The kind of this device.
    pub compatible: String,
    /// The running version.
    pub version: String,
    /// Its build.
    pub build: String,
    /// The release that is to be installed, or that the other slot holds already.
    pub release: Option<Offered>,
    /// Newer releases that are not taken, newest first.
    pub passed_over: Vec<PassedOver>,
    /// Why the running release was withdrawn, if it was.
    pub running_withdrawn: Option<String>,
    /// The withdrawn release that waits for its first boot.
    pub waiting_withdrawn: Option<Waiting>,
    /// The time that counted, such as `2026-11-21T09:00:00Z`.
    pub now: String,
    /// True if this device's clock stands before the channel was made. Then the clock does not
    /// count.
    pub clock_is_wrong: bool,
    /// The lines for a person.
    pub lines: Vec<String>,
}

/// A release that this device takes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Offered {
    /// Its version.
    pub version: String,
    /// Its build.
    pub build: String,
    /// SHA-256 of its signed manifest, hex.
    pub manifest_sha256: String,
    /// Bytes of its bundle. A device fetches only what it lacks.
    pub size: u64,
    /// Bytes of the delta from the running release, if there is one.
    pub delta_size: Option<u64>,
}

/// A newer release that is not taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PassedOver {
    /// Its version.
    pub version: String,
    /// `withdrawn`, `quarantined`, `too-far`, `below-floor` or `not-its-turn`.
    pub kind: &'static str,
    /// Why, for a person; one line.
    pub reason: String,
    /// When this device's turn comes, if that is known.
    pub turn: Option<String>,
}

/// A withdrawn release that was not booted yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Waiting {
    /// `A` or `B`.
    pub slot: String,
    /// Its version.
    pub version: String,
    /// The publisher's reason; one line.
    pub reason: String,
}

impl Asked {
    /// Returns the answer. The `step` and all `lines` for a person must be known.
    pub(crate) fn of(
        decision: &Decision<'_>,
        own: &Own,
        withdrawal: Option<&Withdrawal>,
        step: &Step,
        lines: &[String],
    ) -> Self {
        let release = match &decision.verdict {
            Verdict::Install(release, deltas) => Some(Offered {
                version: release.version.to_string(),
                build: release.build.to_string(),
                manifest_sha256: release.manifest_sha256.to_string(),
                size: release.size,
                delta_size: deltas.first().map(|delta| delta.size),
            }),
            Verdict::Nothing | Verdict::Refuse(_) => None,
        };
        let passed_over = decision.passed_over.iter().map(|passed| {
            let (kind, turn) = match &passed.reason {
                Reason::Withdrawn(_) => ("withdrawn", None),
                Reason::Quarantined => ("quarantined", None),
                Reason::TooFar(_) => ("too-far", None),
                Reason::BelowFloor => ("below-floor", None),
                Reason::NotItsTurn(turn) => {
                    ("not-its-turn", turn.as_ref().map(Timestamp::to_string))
                }
            };
            let reason = one_line(&passed.reason.to_string());
            PassedOver { version: passed.release.version.to_string(), kind, reason, turn }
        });
        Self {
            verdict: step.word(),
            compatible: own.compatible.to_string(),
            version: own.version.to_string(),
            build: own.build.clone(),
            release,
            passed_over: passed_over.collect(),
            running_withdrawn: decision.running_withdrawn.map(one_line),
            waiting_withdrawn: withdrawal.map(|found| Waiting {
                slot: found.slot.to_string(),
                version: found.version.to_string(),
                reason: one_line(&found.reason),
            }),
            now: decision.now.to_string(),
            clock_is_wrong: own.now < decision.now,
            lines: lines.to_vec(),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{}", one_line(line)))
    }
}
