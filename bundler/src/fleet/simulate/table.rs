//! Writes the result of a simulation as text.
//!
//! `svg` draws the same as a picture. One line is one moment.

use std::fmt::Write as _;

use crate::fleet::share::Share;
use crate::fleet::simulate::run::{Run, Sample, Stop};
use crate::fleet::simulate::scenario::Scenario;
use image_layout::Amount;

impl Run {
    /// Returns the text that a person reads. One scenario gives one text.
    #[must_use]
    pub fn to_text(&self, scenario: &Scenario) -> String {
        // A write to a String cannot fail.
        let mut text = self.head(scenario);
        let _ = write!(text, "\n{:>9} {:>8}", "after", "let in");
        for version in &self.versions {
            let _ = write!(text, " {:>9}", version.to_string());
        }
        let _ = writeln!(text, " {:>9} {:>9}", "under way", "fell back");
        for sample in self.samples.iter().filter(|sample| sample.at_s % self.row_s == 0) {
            text += &row(sample);
        }
        text.push('\n');
        text += &self.end(scenario);
        text
    }

    fn head(&self, scenario: &Scenario) -> String {
        let Scenario { devices, days, poll_hours, offline, failing, seed, offer, .. } = scenario;
        let (to, from) = (&offer.to, &offer.from);
        let window =
            scenario.window.map(|window| format!(", updates from {window}")).unwrap_or_default();
        let mut text = format!(
            "{devices} devices ({}), {days} days, a poll every {poll_hours} h{window}, {offline} \
                out of reach at any time; seed {seed}\n",
            offer.compatible
        );
        let stop = match scenario.stop {
            Some(rule) => {
                format!(
                    "to be stopped above {} (a look every {} minutes)",
                    rule.above, scenario.watch_minutes
                )
            }
            None => "never to be stopped".to_owned(),
        };
        if let Some(release) = offer.channel.release(&offer.compatible, to) {
            let pace = match &release.rollout {
                None => "to everybody at once".to_owned(),
                Some(rollout) => {
                    format!("to {} % of them within {} h", rollout.percent, rollout.hours)
                }
            };
            let deltas = release.deltas.len();
            let _ = writeln!(
                text,
                "{from} to {to} ({}, {deltas} deltas), {pace}; it fails on {failing} of them, \
                    {stop}",
                Amount(release.size)
            );
        }
        text
    }

    fn end(&self, scenario: &Scenario) -> String {
        let (traffic, to) = (&self.traffic, &scenario.offer.to);
        let devices = u64::from(scenario.devices);
        let reached = |share: &str, at: Option<u64>| match at {
            Some(at) => format!("{share} after {}", moment(at)),
            None => format!("{share} never"),
        };
        let [half, most, all] = self.reached;
        let mut text = format!(
            "run {to}: {}, {}, {}\n",
            reached("50 %", half),
            reached("90 %", most),
            reached("99 %", all)
        );
        if let Some(Stop { at_s, reason }) = &self.stop {
            let _ = writeln!(text, "stopped after {}: {reason}", moment(*at_s));
        }
        let _ = writeln!(
            text,
            "{} devices ({}) tried {to}, it failed on {} of them; the log has {} good and {} bad \
                results",
            self.tried,
            Share::of(self.tried, devices),
            self.failed,
            self.results.committed,
            self.results.fell_back
        );
        if self.refused > 0 {
            let _ = writeln!(text, "{} polls ended with a channel that had expired", self.refused);
        }
        let polls = traffic.unchanged + traffic.channels;
        let _ = writeln!(
            text,
            "server: {polls} polls ({} unchanged, {} with the channel), {}, and {} requests for a \
                newer root document",
            traffic.unchanged,
            traffic.channels,
            Amount(traffic.poll_bytes),
            traffic.roots
        );
        let _ = writeln!(
            text,
            "server: {} downloads by delta and {} by chunks, {}; at most {:.1} Mbit/s over {} \
                minutes",
            traffic.deltas,
            traffic.bundles,
            Amount(traffic.download_bytes),
            self.downloads.peak_bits() as f64 / 1e6,
            self.downloads.every_s() / 60
        );
        text
    }
}

fn row(sample: &Sample) -> String {
    let mut text = format!("{:>9} {:>8}", moment(sample.at_s), sample.share);
    for count in &sample.counts {
        let _ = write!(text, " {count:>9}");
    }
    text.push('\n');
    text
}

/// Writes a time in seconds from the start.
pub(crate) fn moment(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days}d {hours:02}:{minutes:02}")
}
