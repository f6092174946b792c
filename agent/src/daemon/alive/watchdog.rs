//! The hardware watchdog, for systems where systemd does not feed it.
//!
//! `keepalive` feeds it, and `sys` has the system call. Dropping the watchdog leaves its timer
//! running: whoever stops feeding it wants the reset.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::daemon::alive::sys;

/// An open watchdog.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: File,
    timeout: Duration,
}

impl Watchdog {
    /// Opens the watchdog and asks for `timeout`. Hardware that cannot do that keeps its own.
    pub(crate) fn open(path: &Path, timeout: Duration) -> io::Result<Self> {
        let device = File::options().write(true).open(path)?;
        let wanted = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        let timeout = match sys::set_watchdog_timeout(&device, wanted) {
            Ok(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1)),
            Err(_) => timeout,
        };
        Ok(Self { device, timeout })
    }

    /// Returns how often the watchdog must be fed: twice per timeout.
    #[must_use]
    pub(crate) fn interval(&self) -> Duration {
        self.timeout / 2
    }

    /// Feeds the watchdog.
    pub(crate) fn feed(&mut self) -> io::Result<()> {
        self.device.write_all(b"\0")
    }

    /// Stops the timer (the "magic close"), because a person stopped the daemon.
    pub(crate) fn disarm(mut self) -> io::Result<()> {
        self.device.write_all(b"V")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_with_zeros_and_disarmed_with_the_magic_v() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, "").unwrap();
        let mut watchdog = Watchdog::open(&path, Duration::from_secs(8)).unwrap();
        assert_eq!(watchdog.interval(), Duration::from_secs(4));
        watchdog.feed().unwrap();
        watchdog.disarm().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0V");
    }
}
