//! The progress of an install: a bar on a terminal, a few plain lines elsewhere.
//!
//! `console` prints both. The bar goes to stderr, so stderr decides if there is a terminal.

use image_layout::Amount;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::console::{say, show_bar};

/// Plain lines come at each tenth of the whole, but not more often than this.
const BETWEEN_LINES: Duration = Duration::from_secs(2);
/// Characters of a whole bar.
const WIDTH: u64 = 40;

/// The progress of one step, such as `writing`.
#[derive(Debug)]
pub(crate) struct Progress {
    step: &'static str,
    total: u64,
    /// Percent that the bar shows. `None`: there is no terminal.
    shown: Option<u64>,
    /// The tenth that the last plain line named.
    told: u64,
    last_line: Instant,
}

impl Progress {
    /// Starts at 0 of `total` bytes.
    #[must_use]
    pub(crate) fn start(step: &'static str, total: u64) -> Self {
        let shown = std::io::stderr().is_terminal().then_some(0);
        Self { step, total, shown, told: 0, last_line: Instant::now() }
    }

    /// Shows that `done` bytes are written.
    pub(crate) fn at(&mut self, done: u64) {
        let percent = done * 100 / self.total.max(1);
        match &mut self.shown {
            Some(shown) if *shown == percent => {}
            Some(shown) => {
                *shown = percent;
                show_bar(bar(self.step, percent, self.total));
            }
            None if percent / 10 > self.told && self.last_line.elapsed() >= BETWEEN_LINES => {
                say(format_args!("{} {percent} %", self.step));
                self.told = percent / 10;
                self.last_line = Instant::now();
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            show_bar(String::new());
        }
    }
}

/// ` writing ####################                      50 % of 90.2 MB`
fn bar(step: &str, percent: u64, total: u64) -> String {
    let full = (percent.min(100) * WIDTH / 100) as usize; // at most the width
    let empty = WIDTH as usize - full;
    format!(
        "{step:>8} {}{} {percent:>3} % of {}",
        "#".repeat(full),
        " ".repeat(empty),
        Amount(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_and_always_as_wide() {
        let half = bar("writing", 50, 90_200_000);
        assert_eq!(half.chars().filter(|c| *c == '#').count(), 20);
        assert!(half.ends_with("50 % of 90.2 MB"), "{half}");
        let widths =
            [0, 7, 100, 101].map(|percent| bar("looking", percent, 1_000_000).chars().count());
        assert_eq!(widths, [widths[0]; 4]);
    }
}
