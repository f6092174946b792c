//! How far an install is: a bar on a terminal, a few plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::say;

/// Plain lines come at most this often.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// The progress of one step, such as `writing`.
#[derive(Debug)]
pub(crate) struct Progress {
    step: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    /// Starts at 0 of `total` bytes.
    #[must_use]
    pub(crate) fn start(step: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{msg:>8} {wide_bar} {bytes:>10} of {total_bytes} {eta:>4}");
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(step);
            bar
        });
        Self { step, total, bar, last_line: Instant::now() }
    }

    /// `done` bytes are written.
    pub(crate) fn at(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.last_line.elapsed() >= BETWEEN_LINES => {
                say(format_args!("{} {} %", self.step, done * 100 / self.total.max(1)));
                self.last_line = Instant::now();
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes for a person: `81.3 MB`.
#[must_use]
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}
