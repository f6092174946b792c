//! What `daruma check --json` and `daruma channel --json` print. Fields may be added; none changes
//! its meaning.

use std::collections::BTreeMap;
use std::fmt;

use bundle::channel::{Decision, Reason, Timestamp, Verdict};
use serde::Serialize;

use crate::channel::facts::Own;
use crate::channel::plan::Step;
use crate::channel::withdrawal::Withdrawal;
use crate::exit::one_line;

/// The answer of `daruma check`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Asked {
    /// `install`: there is something to install; `reboot`: it is installed and starts with the next
    /// boot; `nothing`.
    pub verdict: &'static str,
    /// The kind of this device.
    pub compatible: String,
    /// The running version.
    pub version: String,
    /// Its build.
    pub build: String,
    /// What is to be installed, or lies in the other slot already.
    pub release: Option<Offered>,
    /// Newer releases that are not taken, newest first.
    pub passed_over: Vec<PassedOver>,
    /// Why the running release was withdrawn, if it was.
    pub running_withdrawn: Option<String>,
    /// What waits for its first boot and was withdrawn.
    pub waiting_withdrawn: Option<Waiting>,
    /// The clock that counted, such as `2026-11-21T09:00:00Z`.
    pub now: String,
    /// Whether this device's clock stands before the channel was made, so that it does not count.
    pub clock_is_wrong: bool,
    /// What the command says to a person, line by line.
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
    /// Bytes of its bundle, of which a device fetches what it lacks.
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
    /// The publisher's; one line.
    pub reason: String,
}

impl Asked {
    pub(crate) fn of(decision: &Decision<'_>, own: &Own, withdrawal: Option<&Withdrawal>) -> Self {
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
            verdict: "nothing",
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
            lines: Vec::new(),
        }
    }

    /// The verdict, now that the other slot was looked at.
    pub(crate) fn lies_there(&mut self, step: &Step) {
        self.verdict = match step {
            Step::Nothing => "nothing",
            Step::Install(..) => "install",
            Step::Reboot => "reboot",
        };
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{}", one_line(line)))
    }
}

/// What `daruma channel` knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Trusted {
    /// The root document; absent: the keyring counts, and no channel can be followed.
    pub root: Option<TrustedRoot>,
    /// The channel; absent: none is configured, or there is no root document.
    pub channel: Option<Followed>,
    /// What the command says to a person.
    #[serde(skip)]
    pub(crate) text: String,
}

/// The root document that counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TrustedRoot {
    /// Its version.
    pub version: u64,
    /// The version of the one in the image.
    pub anchor_version: u64,
    /// Until when channels are followed.
    pub expires: String,
    /// Whether that is over, by this device's clock.
    pub expired: bool,
    /// `root`, `channel` and `release`.
    pub roles: BTreeMap<&'static str, TrustedRole>,
}

/// Whose signatures count for something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TrustedRole {
    /// How many of the keys must sign.
    pub threshold: usize,
    /// Ids of the keys.
    pub keys: Vec<String>,
}

/// The channel that is followed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Followed {
    /// Its name.
    pub name: String,
    /// The repository, without a login.
    pub url: String,
    /// What was accepted last; absent: nothing yet, or not since the keys were replaced.
    pub seen: Option<Seen>,
    /// When it was last looked at with success, by this device's clock.
    pub last_contact: Option<String>,
}

/// A channel document that was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Seen {
    /// Nothing with a lower one is accepted.
    pub serial: u64,
    /// When it was made.
    pub issued: String,
    /// From when on nothing is installed from it.
    pub expires: String,
    /// Whether that is so, by this device's clock.
    pub expired: bool,
    /// How many releases it lists.
    pub releases: usize,
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
