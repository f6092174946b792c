//! Gives up a transfer that is too slow, and holds back one that is too fast.
//!
//! `client::waiting` and `ranges::transfer` measure and wait. Only the time of waiting for the
//! network counts, not the time of writing to the disk.

use std::time::{Duration, Instant};

/// Measures what a connection brings while we wait for it.
#[derive(Clone, Debug)]
pub(crate) struct LowSpeed {
    bytes_per_s: u64,
    over: Duration,
    waited: Duration,
    brought: u64,
}

impl LowSpeed {
    pub(crate) fn new(bytes_per_s: u64, over: Duration) -> Self {
        Self { bytes_per_s, over, waited: Duration::ZERO, brought: 0 }
    }

    /// Returns how long nothing at all may come from now on.
    pub(crate) fn left(&self) -> Duration {
        self.over.saturating_sub(self.waited)
    }

    /// Counts `bytes` that came after `waited`. The error says how slow it was.
    pub(crate) fn count(&mut self, waited: Duration, bytes: u64) -> Result<(), String> {
        self.waited += waited;
        self.brought += bytes;
        if self.waited < self.over {
            return Ok(());
        }
        let is_slow = u128::from(self.brought) * 1000
            < u128::from(self.bytes_per_s.max(1)) * self.waited.as_millis();
        let (brought, waited) = (self.brought, self.waited.as_secs_f64());
        (self.waited, self.brought) = (Duration::ZERO, 0);
        if is_slow { Err(format!("only {brought} bytes came in {waited:.0} s")) } else { Ok(()) }
    }
}

/// Holds the transfer back to a number of bytes per second.
#[derive(Debug)]
pub(crate) struct RateLimit {
    bytes_per_s: u64,
    due: Instant,
}

impl RateLimit {
    /// Returns a limit of `bytes_per_s`. 0: no limit.
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, due: Instant::now() }
    }

    /// Returns how long to wait after `bytes` came.
    pub(crate) fn count(&mut self, bytes: u64) -> Duration {
        if self.bytes_per_s == 0 {
            return Duration::ZERO;
        }
        let now = Instant::now();
        self.due =
            self.due.max(now) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        self.due - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_slow_only_when_it_was_waited_for() {
        let mut speed = LowSpeed::new(1000, Duration::from_secs(2));
        assert_eq!(speed.count(Duration::from_millis(1500), 1999), Ok(()));
        assert_eq!(speed.left(), Duration::from_millis(500));
        assert!(speed.count(Duration::from_millis(500), 0).is_err());
        assert_eq!(speed.count(Duration::from_millis(2000), 2000), Ok(()));
        assert_eq!(speed.count(Duration::ZERO, 0), Ok(()));
        let mut any = LowSpeed::new(0, Duration::from_secs(1));
        assert_eq!(any.count(Duration::from_secs(1), 1), Ok(()));
        assert!(any.count(Duration::from_secs(1), 0).is_err());
    }

    #[test]
    fn a_rate_is_kept_on_average() {
        let mut rate = RateLimit::new(1000);
        let first = rate.count(500);
        assert!(
            first > Duration::from_millis(400) && first <= Duration::from_millis(500),
            "{first:?}"
        );
        assert!(rate.count(1000) > Duration::from_millis(1300));
        assert_eq!(RateLimit::new(0).count(u64::MAX), Duration::ZERO);
    }
}
