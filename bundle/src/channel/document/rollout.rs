//! A staged roll-out: which devices may take a release now.
//!
//! `decision` asks this file. Each device decides for itself, so the server only needs to serve
//! files.

use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::channel::document::later::Later;
use crate::channel::document::time::Timestamp;

/// A roll-out. The share of devices that may take the release is nothing at `start`. The share
/// rises evenly, and reaches `percent` after `hours`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rollout {
    /// When the roll-out begins.
    pub start: Timestamp,
    /// How many hours the share rises. 0: the share is `percent` from the start.
    pub hours: u32,
    /// The share in the end, 0 to 100. The publisher later raises a share below 100.
    pub percent: u8,
    /// Keys for later readers.
    #[serde(flatten)]
    pub later: Later,
}

impl Rollout {
    /// Returns the share of devices, 0 to 100, at `now`.
    #[must_use]
    pub fn share(&self, now: Timestamp) -> f64 {
        let Some(elapsed) = now.seconds().checked_sub(self.start.seconds()) else { return 0.0 };
        let rising = self.rising_s();
        let part = if elapsed >= rising { 1.0 } else { elapsed as f64 / rising as f64 };
        f64::from(self.percent) * part
    }

    /// Returns when the device at `place` may take the release. `None`: the share does not reach
    /// the device.
    #[must_use]
    pub fn turn(&self, place: u64) -> Option<Timestamp> {
        // The device may take the release when place / 2^64 < percent / 100 * elapsed / rising.
        let wanted = u128::from(place) * 100;
        let end = u128::from(self.percent) << 64;
        if wanted >= end {
            return None;
        }
        // This is the first whole second at which that holds. It is at most `rising`, because
        // wanted < end.
        let elapsed = if self.hours == 0 {
            0
        } else {
            let rising = u128::from(self.rising_s());
            (wanted * rising / end + 1).min(rising) as u64
        };
        Some(self.start.after(elapsed))
    }

    fn rising_s(&self) -> u64 {
        u64::from(self.hours) * 3600
    }
}

/// Returns the place of a device in the queue for a release, as a fraction of 2^64. A device has
/// another place for each release, so the same devices do not always go first. A device without an
/// id comes last.
pub(crate) fn place(release: Sha256, device: &str) -> u64 {
    if device.is_empty() {
        return u64::MAX;
    }
    let hash = Sha256::of(&[&release.0[..], device.as_bytes()].concat());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(hours: u32, percent: u8) -> Rollout {
        let start = Timestamp::from_seconds(1_000_000);
        Rollout { start, hours, percent, later: Later::default() }
    }

    fn devices_at(rollout: &Rollout, now: Timestamp) -> usize {
        let release = Sha256::of(b"a release");
        let is_in = |n: &u32| {
            rollout.turn(place(release, &format!("device {n}"))).is_some_and(|turn| turn <= now)
        };
        (0..10_000).filter(is_in).count()
    }

    #[test]
    fn as_many_devices_as_the_share_says_are_in() {
        let rising = rollout(10, 100);
        for (hours, share) in [(1, 10), (5, 50), (9, 90)] {
            let now = rising.start.after(hours * 3600);
            assert_eq!(rising.share(now), share as f64);
            let count = devices_at(&rising, now);
            assert!(count.abs_diff(share * 100) < 150, "{count} of 10,000 for {share} %");
        }
        let still = rollout(0, 25);
        let count = devices_at(&still, still.start.after(u64::from(u32::MAX)));
        assert!(count.abs_diff(2500) < 150, "{count} of 10,000 for 25 %");
    }

    #[test]
    fn before_the_start_none_is_in_and_at_the_end_all_are() {
        for hours in [0, 1, 48] {
            let whole = rollout(hours, 100);
            assert_eq!(devices_at(&whole, Timestamp::from_seconds(999_999)), 0);
            assert_eq!(devices_at(&whole, whole.start.after(u64::from(hours) * 3600)), 10_000);
            for place in [0, 1, u64::MAX - 1, u64::MAX] {
                assert!(whole.turn(place).unwrap() <= whole.start.after(u64::from(hours) * 3600));
            }
            assert_eq!(devices_at(&rollout(hours, 0), whole.start.after(1 << 40)), 0);
        }
    }

    #[test]
    fn who_is_in_stays_in_and_another_release_has_another_order() {
        let rising = rollout(10, 100);
        let turn = |release: &[u8], n: u32| {
            rising.turn(place(Sha256::of(release), &n.to_string())).unwrap()
        };
        let first = |release: &[u8]| (0..100).min_by_key(|n| turn(release, *n)).unwrap();
        assert_ne!(first(b"one"), first(b"two"));
        assert_eq!(
            rising.turn(place(Sha256::of(b"one"), "")),
            Some(rising.start.after(36_000)),
            "no id comes last"
        );
    }
}
