//! One simulated device: what it is at, and its own chance.
//!
//! What it does with a channel is decided by [`bundle::channel::decide`]. A device draws from a
//! stream of its own, so devices do not change each other.

use bundle::channel::{Outcome, Report};

use crate::fleet::random::Random;
use crate::fleet::share::Share;
use crate::fleet::simulate::scenario::Scenario;

/// In seconds. A device that cannot be reached stays so for up to twice this.
const OFFLINE_S: u64 = 12 * 3600;
/// The agent's first wait after a poll that failed; it doubles up to the usual time between two
/// (`channel/poll.rs`).
const FIRST_RETRY_S: u64 = 60;
/// So often it also asks for a newer root document.
const ROOTS_S: u64 = 86_400;
/// A device that waits for its window polls at least so often (`channel/poll.rs`).
const LONGEST_WAIT_S: u64 = 3600;
/// How fast their links are, in bytes a second: 1, 2, 4 … 32 Mbit/s, as many devices of each.
const SLOWEST_LINK: u64 = 125_000;
const LINKS: u64 = 6;
/// From the end of the installation until the new system is committed, in seconds.
const COMMIT_S: (u64, u64) = (60, 240);
/// The same until the old system runs again: all its tries.
const FALL_BACK_S: (u64, u64) = (300, 1500);

/// What a device is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Waiting for its next poll.
    Idle,
    /// Fetching and writing a release, given by its place in the fleet's list.
    Fetching(u8),
    /// It is on trial; whether it will be committed is known.
    Trial(u8, Outcome),
}

/// A device, in few bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    random: Random,
    /// When its link next comes or goes, in seconds from the start.
    turns_s: u64,
    online: bool,
    /// Polls in a row that have failed.
    failures: u8,
    /// When it next asks for a newer root document.
    roots_s: u64,
    /// Of its link, bytes a second.
    rate: u32,
    pub(crate) phase: Phase,
    /// What it runs, by its place in the fleet's list.
    pub(crate) runs: u8,
    /// The serial of the channel that it has.
    pub(crate) serial: u64,
    /// What it has not told yet.
    pub(crate) untold: Option<Report>,
    /// The release that is rolled out has failed on it.
    pub(crate) quarantined: bool,
}

impl Device {
    /// One that has the channel of before the release.
    pub(crate) fn new(scenario: &Scenario, number: u32) -> Self {
        // Stream 0 is not a device's.
        let mut random = Random::new(scenario.seed, u64::from(number) + 1);
        let online = !random.happens(scenario.offline);
        let rate = SLOWEST_LINK << random.between(0, LINKS - 1);
        let roots_s = random.between(0, ROOTS_S);
        let mut device = Self {
            random,
            turns_s: 0,
            online,
            failures: 0,
            roots_s,
            rate: rate as u32,
            phase: Phase::Idle,
            runs: 0,
            serial: scenario.offer.channel.serial - 1,
            untold: None,
            quarantined: false,
        };
        device.turns_s = device.stretch_s(scenario.offline);
        device
    }

    /// When it first polls: the simulation begins in the middle of the fleet's life.
    pub(crate) fn first_poll_s(&mut self, scenario: &Scenario) -> u64 {
        self.random.between(0, scenario.poll_s() + scenario.jitter_s())
    }

    /// From one poll to the next.
    pub(crate) fn next_poll_s(&mut self, scenario: &Scenario) -> u64 {
        self.failures = 0;
        scenario.poll_s() + self.random.between(0, scenario.jitter_s())
    }

    /// From a poll to the next one, when there is something to do and its window opens in so many
    /// seconds: into the first half of the window, as the agent does.
    pub(crate) fn window_poll_s(&mut self, scenario: &Scenario, seconds: u64) -> u64 {
        let usual = self.next_poll_s(scenario);
        let wait = if seconds > LONGEST_WAIT_S {
            LONGEST_WAIT_S
        } else {
            seconds + self.spread_s(scenario)
        };
        usual.min(wait)
    }

    /// Into the window.
    pub(crate) fn spread_s(&mut self, scenario: &Scenario) -> u64 {
        let half = scenario.window.map_or(0, |window| window.length_s() / 2);
        self.random.between(0, half.min(scenario.jitter_s()))
    }

    /// From one that failed.
    pub(crate) fn retry_s(&mut self, scenario: &Scenario) -> u64 {
        let longest = (FIRST_RETRY_S << self.failures.min(16)).min(scenario.poll_s());
        self.failures = self.failures.saturating_add(1);
        self.random.between(longest / 2, longest)
    }

    /// From the start of the daemon.
    pub(crate) fn after_start_s(&mut self, scenario: &Scenario) -> u64 {
        self.random.between(1, scenario.jitter_s().max(1))
    }

    /// Whether it asks for a newer root document too: when the channel has changed, and once a day.
    pub(crate) fn asks_for_root(&mut self, now: u64, is_changed: bool) -> bool {
        let is_due = is_changed || now >= self.roots_s;
        if is_due {
            self.roots_s = now + ROOTS_S;
        }
        is_due
    }

    /// When the link is there, from `now` on: `now`, or later.
    fn reachable_s(&mut self, now: u64, offline: Share) -> u64 {
        while self.turns_s <= now {
            self.online = !self.online;
            self.turns_s += self.stretch_s(offline);
        }
        if self.online { now } else { self.turns_s }
    }

    /// Whether the link is there.
    pub(crate) fn is_reachable(&mut self, now: u64, offline: Share) -> bool {
        self.reachable_s(now, offline) == now
    }

    /// When that many bytes are there, if it begins `now` and goes on after every gap.
    pub(crate) fn fetched_s(&mut self, now: u64, bytes: u64, offline: Share) -> u64 {
        let mut left = bytes.div_ceil(u64::from(self.rate));
        let mut at = now;
        loop {
            at = self.reachable_s(at, offline);
            let gap = self.turns_s - at;
            if left <= gap {
                return at + left;
            }
            left -= gap;
            at = self.turns_s;
        }
    }

    /// What will become of a release, and how long that takes.
    pub(crate) fn trial(&mut self, failing: Share) -> (Outcome, u64) {
        let (outcome, (from, to)) = match self.random.happens(failing) {
            true => (Outcome::FellBack, FALL_BACK_S),
            false => (Outcome::Committed, COMMIT_S),
        };
        (outcome, self.random.between(from, to))
    }

    /// How long its link stays as it is. Online is as much longer than offline as the share asks
    /// for.
    fn stretch_s(&mut self, offline: Share) -> u64 {
        let mean = match (self.online, offline.fraction()) {
            (false, _) => OFFLINE_S,
            (true, 0.0) => return u64::MAX / 2,
            (true, share) => (OFFLINE_S as f64 * (1.0 - share) / share) as u64,
        };
        self.random.between(1, 2 * mean.max(1))
    }
}
