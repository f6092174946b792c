//! Draws the result of a simulation.
//!
//! `table` writes the same as text. The picture shows which versions the devices run, and what the
//! publisher could know about the failures.

use std::fmt::Write as _;

use semver::Version;

use crate::fleet::share::Share;
use crate::fleet::simulate::run::{Run, Sample};
use crate::fleet::simulate::scenario::Scenario;
use crate::fleet::simulate::table::moment;
use crate::fleet::watch::StopRule;

const WIDTH: f64 = 960.0;
/// Left and right edge of both panels.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 930.0;
/// Top and bottom of the fleet's panel.
const FLEET: (f64, f64) = (76.0, 384.0);
/// Top and bottom of the failures' panel.
const FAILURES: (f64, f64) = (440.0, 550.0);
const FOOT: f64 = 40.0;

const TARGET: &str = "#3a8f62";
const UNDER_WAY: &str = "#f0c04a";
const FELL_BACK: &str = "#c23b33";
/// Colours of the versions before, the oldest first. The last colour is for all others.
const BEFORE: [&str; 4] = ["#b9c4d0", "#93a7bd", "#6f8aa8", "#557394"];
const LINE: &str = "#20262c";

impl Run {
    /// Returns the picture as SVG. One scenario gives one picture.
    #[must_use]
    pub fn to_svg(&self, scenario: &Scenario) -> String {
        let bottom = if scenario.stop.is_some() { FAILURES.1 } else { FLEET.1 };
        let height = bottom + FOOT;
        // A write to a String cannot fail.
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
                font-family=\"sans-serif\" font-size=\"13\" fill=\"{LINE}\">\n<rect \
                width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        let (from, to) = (&scenario.offer.from, &scenario.offer.to);
        let title = format!("{} devices go from {from} to {to}", scenario.devices);
        let _ = writeln!(svg, "<title>{title}</title>");
        text(&mut svg, LEFT, 26.0, "start", &title, " font-size=\"18\" font-weight=\"bold\"");
        self.fleet(&mut svg);
        if let Some(rule) = scenario.stop {
            self.failures(&mut svg, rule, to);
        }
        if let Some(stop) = &self.stop {
            let x = self.x(stop.at_s);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {:.1}V{bottom:.1}\" stroke=\"{FELL_BACK}\" stroke-width=\"2\"/>",
                FLEET.0
            );
            let (x, anchor) =
                if x < (LEFT + RIGHT) / 2.0 { (x + 6.0, "start") } else { (x - 6.0, "end") };
            let line = format!("stopped after {}", moment(stop.at_s));
            text(&mut svg, x, FLEET.0 + 18.0, anchor, &line, " font-weight=\"bold\"");
        }
        self.time(&mut svg, bottom);
        svg += "</svg>\n";
        svg
    }

    /// Draws the upper panel: stacked areas with the release at the bottom, and the share that may
    /// take the release.
    fn fleet(&self, svg: &mut String) {
        let count = self.versions.len();
        let before = (0..count - 1).rev().map(|index| {
            let colour = BEFORE.get(index).unwrap_or(&BEFORE[BEFORE.len() - 1]);
            (index, *colour, self.versions[index].to_string())
        });
        let layers: Vec<(usize, &str, String)> = [
            (count - 1, TARGET, self.versions[count - 1].to_string()),
            (count, UNDER_WAY, "under way".to_owned()),
            (count + 1, FELL_BACK, "fell back".to_owned()),
        ]
        .into_iter()
        .chain(before)
        .collect();
        axis(svg, FLEET, Share::of(1, 1));
        let fleet = |sample: &Sample| sample.counts.iter().sum::<u32>();
        let mut below: Vec<u32> = vec![0; self.samples.len()];
        for (index, colour, _) in &layers {
            let top: Vec<u32> =
                self.samples.iter().zip(&below).map(|(s, b)| b + s.counts[*index]).collect();
            let point = |sample: &Sample, edge: u32| {
                let y =
                    y(FLEET, Share::of(u64::from(edge), u64::from(fleet(sample))), Share::of(1, 1));
                format!("{:.1} {y:.1}", self.x(sample.at_s))
            };
            let there = self.samples.iter().zip(&top).map(|(sample, edge)| point(sample, *edge));
            let back =
                self.samples.iter().zip(&below).rev().map(|(sample, edge)| point(sample, *edge));
            let points: Vec<String> = there.chain(back).collect();
            let _ = writeln!(svg, "<path d=\"M{}Z\" fill=\"{colour}\"/>", points.join("L"));
            below = top;
        }
        let share = self.samples.iter().map(|sample| (sample.at_s, sample.share));
        self.line(svg, FLEET, share, Share::of(1, 1), LINE, " stroke-dasharray=\"6 4\"");

        let mut x = LEFT;
        let legend = layers.iter().map(|(_, colour, name)| (*colour, name.as_str(), false));
        for (colour, name, is_line) in legend.chain([(LINE, "let in", true)]) {
            let mark = match is_line {
                true => format!(
                    "<path d=\"M{x} 54h16\" stroke=\"{colour}\" stroke-width=\"2\" \
                        stroke-dasharray=\"6 4\"/>"
                ),
                false => format!(
                    "<rect x=\"{x}\" y=\"48\" width=\"16\" height=\"12\" fill=\"{colour}\"/>"
                ),
            };
            let _ = writeln!(svg, "{mark}");
            text(svg, x + 22.0, 59.0, "start", name, "");
            x += 48.0 + 8.0 * name.len() as f64;
        }
    }

    /// Draws the lower panel: the share of failures among the results in the log, and the lower
    /// limit of that share.
    fn failures(&self, svg: &mut String, rule: StopRule, to: &Version) {
        let most = Share::from_fraction((rule.above.fraction() * 3.0).max(0.001));
        axis(svg, FAILURES, most);
        let title = format!(
            "Of those that tried {to}, fell back as the log has it (red), surely at least \
                (black), and the limit (dashed)"
        );
        text(svg, LEFT, FAILURES.0 - 12.0, "start", &title, "");
        let known = || self.samples.iter().filter(|sample| sample.results.total() > 0);
        let failed = known().map(|sample| (sample.at_s, sample.results.failed()));
        self.line(svg, FAILURES, failed, most, FELL_BACK, "");
        let sure = known().map(|sample| (sample.at_s, rule.at_least(sample.results)));
        self.line(svg, FAILURES, sure, most, LINE, "");
        let limit = [(0, rule.above), (self.end_s, rule.above)];
        self.line(svg, FAILURES, limit.into_iter(), most, LINE, " stroke-dasharray=\"2 3\"");
    }

    fn line(
        &self,
        svg: &mut String,
        panel: (f64, f64),
        points: impl Iterator<Item = (u64, Share)>,
        most: Share,
        colour: &str,
        style: &str,
    ) {
        let point = |(at, share)| format!("{:.1} {:.1}", self.x(at), y(panel, share, most));
        let points: Vec<String> = points.map(point).collect();
        if points.is_empty() {
            return;
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{style}/>",
            points.join("L")
        );
    }

    /// Draws the days below a panel.
    fn time(&self, svg: &mut String, bottom: f64) {
        let days = self.end_s / 86_400;
        let every = days.div_ceil(12).max(1);
        for day in (0..=days).step_by(every as usize) {
            let x = self.x(day * 86_400);
            let _ = writeln!(svg, "<path d=\"M{x:.1} {bottom}v5\" stroke=\"{LINE}\"/>");
            text(svg, x, bottom + 20.0, "middle", &format!("{day} d"), "");
        }
    }

    fn x(&self, at_s: u64) -> f64 {
        LEFT + (RIGHT - LEFT) * at_s as f64 / self.end_s as f64
    }
}

/// Returns the distance from the top. A share above `most` is drawn at the panel's edge.
fn y((top, bottom): (f64, f64), share: Share, most: Share) -> f64 {
    bottom - (bottom - top) * (share.fraction() / most.fraction()).min(1.0)
}

fn axis(svg: &mut String, panel: (f64, f64), most: Share) {
    let (top, bottom) = panel;
    for quarter in 0..=4 {
        let share = Share::from_fraction(most.fraction() * f64::from(quarter) / 4.0);
        let y = y(panel, share, most);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#d8dde2\"/>");
        text(svg, LEFT - 8.0, y + 4.0, "end", &share.to_string(), "");
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {top}V{bottom}H{RIGHT}\" fill=\"none\" stroke=\"{LINE}\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str, style: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{style}>{text}</text>"
    );
}
