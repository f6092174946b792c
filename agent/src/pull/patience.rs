//! Decides how often, and after which pause, a failed request is tried again.
//!
//! `trouble` says which failures are worth another try. Only 64 KiB of progress reset the count of
//! tries. Otherwise a server could keep the device busy for ever, one byte at a time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::pull::trouble::Trouble;

/// The wait after the first failure. It doubles with each further one.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait, unless the server asks for more.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that a server may ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// Bytes that count as progress.
const PROGRESS: u64 = 64 << 10;

/// Counts the tries that brought nothing.
#[derive(Debug)]
pub(crate) struct Patience {
    tries: u32,
    failed: u32,
    since: u64,
}

impl Patience {
    pub(crate) fn new(tries: u32) -> Self {
        Self { tries, failed: 0, since: 0 }
    }

    /// Counts `bytes` that came.
    pub(crate) fn progress(&mut self, bytes: u64) {
        self.since += bytes;
        if self.since >= PROGRESS {
            (self.failed, self.since) = (0, 0);
        }
    }

    /// Returns how long to wait for the next try, after a failed one. The error is final.
    pub(crate) fn after(&mut self, trouble: Trouble) -> Result<(Duration, String), Trouble> {
        let Trouble::Passing { cause, wait } = trouble else { return Err(trouble) };
        self.failed += 1;
        if self.failed >= self.tries {
            let tries = match self.failed {
                1 => "one try".to_owned(),
                count => format!("{count} tries in a row without progress"),
            };
            let line = format!("{cause}; given up after {tries}; try again later");
            return Err(Trouble::Lasting(crate::exit::Exit::Network, line));
        }
        if let Some(wait) = wait.filter(|wait| *wait > LONGEST_ASKED) {
            let line = format!(
                "{cause}, and asks to come back after {} s; try again then",
                wait.as_secs()
            );
            return Err(Trouble::Lasting(crate::exit::Exit::Network, line));
        }
        let own = FIRST.saturating_mul(1 << (self.failed - 1).min(16)).min(LONGEST);
        // Half of the wait is random, so that a thousand devices do not come back at once.
        let lot = RandomState::new().hash_one(self.failed) % 1000;
        let own = own / 2 + own.mul_f64(lot as f64 / 2000.0);
        Ok((wait.map_or(own, |wait| wait.max(own)), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(patience: &mut Patience, asked: Option<u64>) -> Option<Duration> {
        let trouble =
            Trouble::Passing { cause: "x".to_owned(), wait: asked.map(Duration::from_secs) };
        patience.after(trouble).ok().map(|(wait, _)| wait)
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_ends() {
        let mut patience = Patience::new(12);
        let waits: Vec<_> = std::iter::from_fn(|| wait(&mut patience, None)).collect();
        assert_eq!(waits.len(), 11);
        for (index, wait) in waits.iter().enumerate() {
            let most = FIRST.saturating_mul(1 << index).min(LONGEST);
            assert!(*wait >= most / 2 && *wait <= most, "{index}: {wait:?}");
        }
    }

    #[test]
    fn only_progress_gives_new_patience() {
        let mut patience = Patience::new(2);
        assert!(wait(&mut patience, None).is_some());
        patience.progress(PROGRESS - 1);
        assert!(wait(&mut patience, None).is_none());
        patience.progress(1);
        assert!(wait(&mut patience, None).is_some());
    }

    #[test]
    fn a_server_may_ask_for_five_minutes_and_not_for_a_day() {
        assert_eq!(wait(&mut Patience::new(2), Some(300)), Some(Duration::from_secs(300)));
        assert_eq!(wait(&mut Patience::new(2), Some(86_400)), None);
    }
}
