//! The input of a simulation: the fleet, the release, and its faults.
//!
//! The verbs make it from their arguments. A scenario with its seed gives one result.

use anyhow::{Context, Result, bail};
use bundle::channel::{Channel, Delta, Later, Release, Rollout, Timestamp};
use bundle::{Compatible, Sha256, limits};
use semver::Version;

use crate::fleet::share::Share;
use crate::fleet::simulate::window::Window;
use crate::fleet::watch::StopRule;

/// Most devices. Each takes a few dozen bytes.
pub const DEVICES_MAX: u32 = 10_000_000;
/// Most days.
pub const DAYS_MAX: u32 = 366;
/// 2026-01-05T00:00:00Z. An invented channel begins at this time in every run.
const MONDAY: u64 = 1_767_571_200;
/// In seconds.
const DAY: u64 = 86_400;

/// A fleet, a channel, and the faults of both.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Number of devices.
    pub devices: u32,
    /// Number of simulated days.
    pub days: u32,
    /// How often a device asks, in hours.
    pub poll_hours: u32,
    /// Minutes that are added to that at random, at most.
    pub jitter_minutes: u32,
    /// When devices install and restart; `None`: always.
    pub window: Option<Window>,
    /// The share of devices that cannot be reached at any one time.
    pub offline: Share,
    /// The share of devices on which the release fails.
    pub failing: Share,
    /// The share of a bundle that a device fetches if there is no delta for its version. It has the
    /// rest.
    pub fetched: Share,
    /// When the publisher withdraws the release; `None`: never.
    pub stop: Option<StopRule>,
    /// How often the publisher looks at the log, in minutes.
    pub watch_minutes: u32,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The channel and the releases in it.
    pub offer: Offer,
}

/// A channel with the release that is rolled out and the release that the fleet runs before.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The channel with all its releases.
    pub channel: Channel,
    /// The kind of device.
    pub compatible: Compatible,
    /// The version that the fleet runs at first.
    pub from: Version,
    /// The version that is rolled out.
    pub to: Version,
    /// The time at which the simulation begins.
    pub start: Timestamp,
}

impl Scenario {
    pub(crate) fn poll_s(&self) -> u64 {
        u64::from(self.poll_hours) * 3600
    }

    /// Returns the seconds until devices may install and restart.
    pub(crate) fn to_window_s(&self, now: u64) -> u64 {
        self.window.map_or(0, |window| window.wait_s(self.offer.start.after(now).seconds()))
    }

    pub(crate) fn jitter_s(&self) -> u64 {
        u64::from(self.jitter_minutes) * 60
    }
}

impl Offer {
    /// Takes the newest release for that kind of device from a published channel. `None` means the
    /// only kind that the channel has. The fleet runs `from`, or else the second newest release.
    ///
    /// # Errors
    /// The channel does not have two such releases.
    pub fn of(
        channel: Channel,
        compatible: Option<&Compatible>,
        from: Option<&Version>,
    ) -> Result<Self> {
        let name = channel.name.clone();
        let mut kinds: Vec<&Compatible> = channel.releases.iter().map(|r| &r.compatible).collect();
        kinds.dedup();
        let compatible = match (compatible, kinds.as_slice()) {
            (Some(compatible), _) => compatible.clone(),
            (None, [only]) => (*only).clone(),
            (None, _) => bail!(
                "the channel {name} is for {} kinds of device; say which with --compatible",
                kinds.len()
            ),
        };
        let mut releases: Vec<&Release> =
            channel.releases.iter().filter(|release| release.compatible == compatible).collect();
        releases.sort_by(|a, b| b.version.cmp_precedence(&a.version));
        let none =
            || format!("the channel {name} has no release for {compatible}; publish one first");
        let to = *releases.first().with_context(none)?;
        let before = releases.get(1).map(|release| &release.version);
        let Some(from) = from.or(before).cloned() else {
            bail!(
                "the channel {name} has nothing but {}; say with --from what the fleet runs",
                to.version
            );
        };
        if from.cmp_precedence(&to.version).is_ge() {
            bail!(
                "--from {from} is not older than {}, the newest release for {compatible}",
                to.version
            );
        }
        let start =
            to.rollout.as_ref().map_or(channel.issued, |rollout| rollout.start.max(channel.issued));
        let to = to.version.clone();
        Ok(Self { channel, compatible, from, to, start })
    }

    /// Invents a channel in which `to` follows 1.0.0 and is rolled out evenly within `hours`.
    ///
    /// # Errors
    /// `to` is not above 1.0.0.
    pub fn invented(to: Version, hours: u32, size: u64, delta: Option<u64>) -> Result<Self> {
        let start = Timestamp::from_seconds(MONDAY);
        let compatible: Compatible = "router".parse()?;
        let location = || "bundles/release.daruma".parse().map_err(anyhow::Error::msg);
        let release = |version: Version| -> Result<Release> {
            Ok(Release {
                compatible: compatible.clone(),
                build: "simulated".parse()?,
                manifest_sha256: Sha256::of(version.to_string().as_bytes()),
                version,
                url: location()?,
                size,
                tail: limits::FOOTER as u64,
                from_version: None,
                deltas: Vec::new(),
                rollout: None,
                withdrawn: None,
                later: Later::default(),
            })
        };
        let (old, mut new) = (release(Version::new(1, 0, 0))?, release(to)?);
        new.rollout = Some(Rollout { start, hours, percent: 100, later: Later::default() });
        if let Some(size) = delta {
            let (from, sha256) = (old.manifest_sha256, Sha256::of(b"a delta"));
            let (memory_mib, later) = (bundle::delta::limits::MEMORY, Later::default());
            new.deltas.push(Delta { from, url: location()?, size, sha256, memory_mib, later });
        }
        let channel = Channel {
            name: "stable".parse()?,
            serial: 1,
            root: 1,
            issued: start,
            expires: start.after(u64::from(DAYS_MAX + 1) * DAY),
            releases: vec![old, new],
            later: Later::default(),
        };
        Self::of(channel, None, None)
    }
}
