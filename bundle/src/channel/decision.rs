//! Decides what a device does with a channel.
//!
//! The agent fetches the channel and acts on the decision. The simulator uses the same function for
//! its devices. The function takes plain data and gives plain data.

use std::fmt;

use semver::Version;

use crate::channel::document::channel::{Channel, Delta, Release};
use crate::channel::document::error::ChannelError;
use crate::channel::document::kind::Kind;
use crate::channel::document::rollout::place;
use crate::channel::document::root::Root;
use crate::channel::document::time::Timestamp;
use crate::{Compatible, Sha256};

/// What a device knows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The device's id, which decides its place in a roll-out. Empty: the device has no known id.
    pub id: &'a str,
    /// The kind of device.
    pub compatible: &'a Compatible,
    /// The running version.
    pub version: &'a Version,
    /// The running release (its manifest's hash), if it is known.
    pub manifest: Option<Sha256>,
    /// The device may install nothing below this version.
    pub floor: &'a Version,
    /// Releases that failed on this device before.
    pub quarantine: &'a [Sha256],
    /// Most MiB of memory that a delta may take while the device applies it.
    pub delta_memory_mib: u32,
    /// The highest serial that the device has seen of this channel; 0: none.
    pub seen_serial: u64,
    /// The device's clock.
    pub now: Timestamp,
}

/// What the device is to do, and why it takes nothing newer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision<'a> {
    /// What the device is to do.
    pub verdict: Verdict<'a>,
    /// Newer releases for this kind of device that the device does not take, newest first.
    pub passed_over: Vec<PassedOver<'a>>,
    /// What the device takes for now: its clock, or `issued` if the clock stands before `issued`.
    pub now: Timestamp,
    /// Why the publisher has withdrawn the running release, if he has.
    pub running_withdrawn: Option<&'a str>,
}

/// What the device is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict<'a> {
    /// Install this release. The device uses the first of these deltas that works for it.
    Install(&'a Release, Vec<&'a Delta>),
    /// The channel has nothing newer that the device may take.
    Nothing,
    /// The device installs nothing from this channel.
    Refuse(ChannelError),
}

/// A newer release that the device does not take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PassedOver<'a> {
    /// The release.
    pub release: &'a Release,
    /// Why the device does not take the release.
    pub reason: Reason<'a>,
}

/// Why a device does not take a newer release.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason<'a> {
    /// The publisher has withdrawn the release, for this reason.
    Withdrawn(&'a str),
    /// The release failed on this device before.
    Quarantined,
    /// The running version is too old to go to the release directly. The value is the oldest
    /// version that may.
    TooFar(&'a Version),
    /// The release is below the anti-rollback floor.
    BelowFloor,
    /// The device may take the release from this moment on. `None`: the roll-out's share does not
    /// reach this device yet.
    NotItsTurn(Option<Timestamp>),
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdrawn(why) => write!(f, "withdrawn by its publisher: {why}"),
            Self::Quarantined => f.write_str("it failed on this device before"),
            Self::TooFar(from) => write!(f, "it needs at least version {from} to start from"),
            Self::BelowFloor => f.write_str("it is below the anti-rollback floor"),
            Self::NotItsTurn(Some(turn)) => {
                write!(f, "it is being rolled out, and this device's turn is {turn}")
            }
            Self::NotItsTurn(None) => f.write_str(
                "it is being rolled out to a part of the devices, and this one is not among them",
            ),
        }
    }
}

/// Decides what the device does with the channel. It takes the highest version for this kind of
/// device that passes every test:
///
/// - The release is newer than the running one, and not below the floor.
/// - The publisher has not withdrawn it, and it is not in quarantine.
/// - The running version may go to it directly.
/// - The roll-out has reached this device.
///
/// A clock that stands before `issued` counts as `issued`, so the channel cannot expire on that
/// device. An attacker who also holds the clock back could use that; see `docs/threat-model.md`.
#[must_use]
pub fn decide<'a>(channel: &'a Channel, root: &Root, device: &Facts<'_>) -> Decision<'a> {
    let now = device.now.max(channel.issued);
    let mut decision = Decision {
        verdict: Verdict::Nothing,
        passed_over: Vec::new(),
        now,
        running_withdrawn: None,
    };
    if let Err(error) = fresh(channel, root, device.seen_serial, now) {
        decision.verdict = Verdict::Refuse(error);
        return decision;
    }
    decision.running_withdrawn = channel
        .release(device.compatible, device.version)
        .filter(|release| device.manifest.is_none_or(|running| running == release.manifest_sha256))
        .and_then(|release| release.withdrawn.as_deref());
    let is_newer = |release: &&Release| {
        release.compatible == *device.compatible
            && release.version.cmp_precedence(device.version).is_gt()
    };
    let mut newer: Vec<&Release> = channel.releases.iter().filter(is_newer).collect();
    newer.sort_by(|a, b| b.version.cmp_precedence(&a.version));
    for release in newer {
        if let Some(reason) = objection(release, device, now) {
            decision.passed_over.push(PassedOver { release, reason });
            continue;
        }
        let is_usable = |delta: &&Delta| {
            device.manifest == Some(delta.from) && delta.memory_mib <= device.delta_memory_mib
        };
        let mut deltas: Vec<&Delta> = release.deltas.iter().filter(is_usable).collect();
        deltas.sort_by_key(|delta| delta.size);
        decision.verdict = Verdict::Install(release, deltas);
        break;
    }
    decision
}

fn fresh(channel: &Channel, root: &Root, seen: u64, now: Timestamp) -> Result<(), ChannelError> {
    if channel.serial < seen {
        return Err(ChannelError::RolledBack { seen, got: channel.serial });
    }
    for (kind, expires) in [(Kind::Root, root.expires), (Kind::Channel, channel.expires)] {
        if now >= expires {
            return Err(ChannelError::Expired { kind, expires, now });
        }
    }
    Ok(())
}

fn objection<'a>(release: &'a Release, device: &Facts<'_>, now: Timestamp) -> Option<Reason<'a>> {
    if let Some(reason) = &release.withdrawn {
        return Some(Reason::Withdrawn(reason));
    }
    if device.quarantine.contains(&release.manifest_sha256) {
        return Some(Reason::Quarantined);
    }
    if let Some(from) =
        release.from_version.as_ref().filter(|from| device.version.cmp_precedence(from).is_lt())
    {
        return Some(Reason::TooFar(from));
    }
    if release.version.cmp_precedence(device.floor).is_lt() {
        return Some(Reason::BelowFloor);
    }
    let turn = release.rollout.as_ref()?.turn(place(release.manifest_sha256, device.id));
    if turn.is_some_and(|turn| turn <= now) { None } else { Some(Reason::NotItsTurn(turn)) }
}
