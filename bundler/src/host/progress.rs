//! Shows a person the progress of a long step.
//!
//! The steps report what they do and how much is done. A terminal shows a bar. Anything else gets
//! plain lines.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One long step. Dropping it clears the bar.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: u64,
    started: Instant,
    bar: Option<ProgressBar>,
    /// Quarters of the work that a plain log has reported, and the work done.
    plain: Mutex<(u64, u64)>,
}

impl Progress {
    /// Starts a step over `total` bytes.
    #[must_use]
    pub fn bytes(what: &str, total: u64) -> Self {
        Self::new(what, total, "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}")
    }

    /// Starts a step of `total` pieces. 0 means that nobody knows how many.
    #[must_use]
    pub fn steps(what: &str, total: u64) -> Self {
        Self::new(
            what,
            total,
            if total == 0 { "{spinner} {msg}" } else { "{msg} {wide_bar} {pos}/{len}" },
        )
    }

    /// Starts the actions of a recipe. [`Progress::begin`] names each.
    #[must_use]
    pub fn actions(total: u64) -> Self {
        Self::new("", total, "{spinner} {elapsed} {bar:20} {msg}")
    }

    /// Begins the next action, after `done` others and `elapsed` of work.
    pub fn begin(&mut self, what: &str, done: u64, elapsed: Duration) {
        what.clone_into(&mut self.what);
        match &self.bar {
            None => eprintln!("{:8.1} s  {what}", elapsed.as_secs_f64()),
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(what.to_owned());
            }
        }
    }

    fn new(what: &str, total: u64, template: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(total).with_style(style).with_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() && !what.is_empty() {
            eprintln!("{what} …");
        }
        Self {
            what: what.to_owned(),
            total,
            started: Instant::now(),
            bar,
            plain: Mutex::new((0, 0)),
        }
    }

    /// Reports that `by` more is done.
    pub fn advance(&self, by: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(by);
            return;
        }
        let Ok(mut plain) = self.plain.lock() else { return };
        plain.1 += by;
        // A plain log gets a line for every quarter of a step that takes long.
        let quarter = (plain.1 * 4).checked_div(self.total).unwrap_or(0);
        if quarter > plain.0 && quarter < 4 && self.started.elapsed() > Duration::from_secs(5) {
            plain.0 = quarter;
            eprintln!("{}: {} %", self.what, quarter * 25);
        }
    }

    /// Reports what the step does at the moment. Only a bar shows this.
    pub fn say(&self, doing: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {doing}", self.what));
        }
    }

    /// Ends the step. `result` says what came of it.
    pub fn done(self, result: &str) {
        let took = self.started.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: {result} ({took:.1} s)", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
