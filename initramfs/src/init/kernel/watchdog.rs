//! The hardware watchdog, which resets a machine that hangs in early boot.
//!
//! `prepare` loads its driver. The boot's own steps feed the watchdog, not a thread: a thread would
//! go on feeding it while a step hangs.

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kernel::{console, sys};

/// An armed watchdog, or none. The watchdog is never disarmed. Closing it without writing `V`
/// leaves the timer running until the real init opens it again.
pub(crate) struct Watchdog {
    device: Option<File>,
    last: Cell<Instant>,
}

impl Watchdog {
    /// Returns a watchdog that does nothing, for machines without one or with `daruma.watchdog=0`.
    pub(crate) fn none() -> Self {
        Self { device: None, last: Cell::new(Instant::now()) }
    }

    /// Opens and arms `/dev/watchdog`, if there is one.
    pub(crate) fn arm(path: &Path, timeout_s: u32) -> Option<Self> {
        let device = File::options().write(true).open(path).ok()?;
        // Some hardware counts no further than half a minute.
        match sys::watchdog_timeout(&device, timeout_s)
            .or_else(|_| sys::watchdog_timeout(&device, 30))
        {
            Ok(seconds) => console::say(&format!("watchdog armed, {seconds} s")),
            Err(error) => console::warn(&format!(
                "setting the watchdog to {timeout_s} s: {error}; it keeps its own time"
            )),
        }
        let armed = Self { device: Some(device), last: Cell::new(Instant::now()) };
        Some(armed)
    }

    /// Feeds the watchdog, at most once a second. It is cheap to call often.
    pub(crate) fn ping(&self) {
        let Some(mut device) = self.device.as_ref() else { return };
        if self.last.get().elapsed() >= Duration::from_secs(1) {
            // If this fails, the machine is reset, as a watchdog should do.
            let _ = device.write_all(b".");
            self.last.set(Instant::now());
        }
    }
}
