//! One simulated device: its state and its own random numbers.
//!
//! [`bundle::channel::decide`] decides what the device does with a channel. Each device draws from
//! a stream of its own, so one device does not change another.

use bundle::channel::{Outcome, Report};

use crate::fleet::random::Random;
use crate::fleet::share::Share;
use crate::fleet::simulate::scenario::Scenario;

/// Mean time that a device is offline, in seconds. The longest time is twice this.
const OFFLINE_S: u64 = 12 * 3600;
/// First wait of the agent after a failed poll. The wait doubles up to the usual time between two
/// polls (`channel/poll.rs`).
const FIRST_RETRY_S: u64 = 60;
/// Time after which a device asks for a newer root document again, in seconds.
const ROOTS_S: u64 = 86_400;
/// Longest time between two polls while a device waits for its window (`channel/poll.rs`).
const LONGEST_WAIT_S: u64 = 3600;
/// Slowest link, in bytes a second. The links have 1, 2, 4 … 32 Mbit/s, and each speed has as many
/// devices.
const SLOWEST_LINK: u64 = 125_000;
const LINKS: u64 = 6;
/// Shortest and longest time from the end of the installation until the commit, in seconds.
const COMMIT_S: (u64, u64) = (60, 240);
/// Shortest and longest time until the old system runs again, after all tries of the new one.
const FALL_BACK_S: (u64, u64) = (300, 1500);

/// What a device is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The device waits for its next poll.
    Idle,
    /// The device fetches and writes a release, given by its place in the fleet's list.
    Fetching(u8),
    /// A release is on trial. The simulation already knows how the trial will end.
    Trial(u8, Outcome),
}

/// A device. It takes few bytes, because there are many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    random: Random,
    /// The time at which its link next comes or goes, in seconds from the start.
    turns_s: u64,
    online: bool,
    /// Number of polls in a row that have failed.
    failures: u8,
    /// The time at which it next asks for a newer root document.
    roots_s: u64,
    /// Speed of its link, in bytes a second.
    rate: u32,
    pub(crate) phase: Phase,
    /// The version that it runs, by its place in the fleet's list.
    pub(crate) runs: u8,
    /// The serial of the channel that it has.
    pub(crate) serial: u64,
    /// The report that it has not sent yet.
    pub(crate) untold: Option<Report>,
    /// True if the release that is rolled out has failed on this device.
    pub(crate) quarantined: bool,
}

impl Device {
    /// Returns a device that has the channel from before the release.
    pub(crate) fn new(scenario: &Scenario, number: u32) -> Self {
        // Stream 0 belongs to no device.
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

    /// Returns the time of its first poll. The simulation begins in the middle of the fleet's life.
    pub(crate) fn first_poll_s(&mut self, scenario: &Scenario) -> u64 {
        self.random.between(0, scenario.poll_s() + scenario.jitter_s())
    }

    /// Returns the time from one poll to the next.
    pub(crate) fn next_poll_s(&mut self, scenario: &Scenario) -> u64 {
        self.failures = 0;
        scenario.poll_s() + self.random.between(0, scenario.jitter_s())
    }

    /// Returns the time from a poll to the next one, if a release waits and the window opens in
    /// that many seconds. The next poll is in the first half of the window, as with the agent.
    pub(crate) fn window_poll_s(&mut self, scenario: &Scenario, seconds: u64) -> u64 {
        let usual = self.next_poll_s(scenario);
        let wait = if seconds > LONGEST_WAIT_S {
            LONGEST_WAIT_S
        } else {
            seconds + self.spread_s(scenario)
        };
        usual.min(wait)
    }

    /// Returns the time from the opening of the window to the poll.
    pub(crate) fn spread_s(&mut self, scenario: &Scenario) -> u64 {
        let half = scenario.window.map_or(0, |window| window.length_s() / 2);
        self.random.between(0, half.min(scenario.jitter_s()))
    }

    /// Returns the time from a failed poll to the next one.
    pub(crate) fn retry_s(&mut self, scenario: &Scenario) -> u64 {
        let longest = (FIRST_RETRY_S << self.failures.min(16)).min(scenario.poll_s());
        self.failures = self.failures.saturating_add(1);
        self.random.between(longest / 2, longest)
    }

    /// Returns the time from the start of the daemon to its first poll.
    pub(crate) fn after_start_s(&mut self, scenario: &Scenario) -> u64 {
        self.random.between(1, scenario.jitter_s().max(1))
    }

    /// Returns true if the device also asks for a newer root document. It does so when the channel
    /// has changed, and once a day.
    pub(crate) fn asks_for_root(&mut self, now: u64, is_changed: bool) -> bool {
        let is_due = is_changed || now >= self.roots_s;
        if is_due {
            self.roots_s = now + ROOTS_S;
        }
        is_due
    }

    /// Returns `now` if the link is up, or else the time at which it comes back.
    fn reachable_s(&mut self, now: u64, offline: Share) -> u64 {
        while self.turns_s <= now {
            self.online = !self.online;
            self.turns_s += self.stretch_s(offline);
        }
        if self.online { now } else { self.turns_s }
    }

    /// Returns true if the link is up.
    pub(crate) fn is_reachable(&mut self, now: u64, offline: Share) -> bool {
        self.reachable_s(now, offline) == now
    }

    /// Returns the time at which that many bytes have come. The download begins at `now` and goes
    /// on after every gap.
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

    /// Returns how a trial will end, and how long that takes.
    pub(crate) fn trial(&mut self, failing: Share) -> (Outcome, u64) {
        let (outcome, (from, to)) = match self.random.happens(failing) {
            true => (Outcome::FellBack, FALL_BACK_S),
            false => (Outcome::Committed, COMMIT_S),
        };
        (outcome, self.random.between(from, to))
    }

    /// Returns how long its link stays as it is. The share decides how much longer the device is
    /// online than offline.
    fn stretch_s(&mut self, offline: Share) -> u64 {
        let mean = match (self.online, offline.fraction()) {
            (false, _) => OFFLINE_S,
            (true, 0.0) => return u64::MAX / 2,
            (true, share) => (OFFLINE_S as f64 * (1.0 - share) / share) as u64,
        };
        self.random.between(1, 2 * mean.max(1))
    }
}
