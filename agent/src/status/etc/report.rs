//! The report of a merge: that of the last boot, and that of the next one before it happens.
//!
//! `etc-merge` makes both. daruma-init keeps the report beside the upper that it made.

use std::fmt::Write as _;
use std::fs;

use etc_merge::{Marks, Policy, Report, Sides, Unchanged};
use image_layout::Slot;

use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::status::etc::images;
use crate::status::etc::place::Place;

/// Returns the report of the merge that made the slot's upper. `None`: the upper was not made from
/// another one. The error is the cause, for one line.
pub(crate) fn last(device: &Device, slot: Slot) -> Result<Option<Report>, String> {
    let path = device.path(format!("/var/lib/daruma/etc/{slot}/merge.json"));
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| format!("reading {}: {error}", path.display()))?,
    };
    let report = serde_json::from_slice(&text);
    report.map(Some).map_err(|error| format!("reading {}: {error}", path.display()))
}

/// Computes what the first boot of the system in the other slot will do with /etc. Writes nothing.
///
/// # Errors
/// [`Exit::Unexpected`]: the other slot has its own /etc already, or a folder cannot be read.
pub fn plan(device: &Device) -> Result<Report, Failure> {
    let other = !device.running()?;
    if device.path(format!("/var/lib/daruma/etc/{other}/identity")).exists() {
        let line = format!(
            "planning the merge of /etc: the system in slot {other} was started before and has \
                its own /etc, which stays as it is"
        );
        return Err(Failure::new(Exit::Unexpected, line));
    }
    let place = Place::find(device)?;
    let image = images::other(device)?;
    let policy =
        Policy::parse(&fs::read(image.join("usr/lib/daruma/etc.conf")).unwrap_or_default());
    let unchanged = place.image.parent().map(|old| Unchanged::between(old, &image));
    let sides = Sides {
        base: Some(&place.image),
        upper: &place.upper,
        theirs: &image.join("etc"),
        unchanged: &unchanged.unwrap_or_default(),
        policy: &policy,
        marks: Marks::Trusted,
    };
    let plan = etc_merge::plan(&sides, &mut || true).map_err(|error| {
        let line = format!("planning the merge of /etc: {error}; the boot will keep whole files");
        Failure::new(Exit::Unexpected, line)
    })?;
    Ok(plan.report().clone())
}

/// Returns one line for `daruma status`.
pub(crate) fn summary(report: &Report) -> String {
    let counts = report.counts;
    if let Some(why) = &report.fallback {
        return format!("not merged: {why}");
    }
    let mut line = format!("{} merged, {} of the device", counts.merged, counts.mine);
    if counts.conflicts > 0 {
        let _ = write!(line, ", {} to look at: daruma etc status", counts.conflicts);
    }
    line
}

/// Returns the report as lines for a person. `needed`: only what needs a person.
pub fn text(report: &Report, needed: bool) -> String {
    let mut text = String::new();
    if let Some(why) = &report.fallback {
        let _ = writeln!(text, "whole files of the old system stay: {why}");
    }
    let lines = report.lines.iter().filter(|line| !needed || line.outcome.needs_a_person());
    for line in lines {
        let word = serde_json::to_value(line.outcome).unwrap_or_default();
        let word = word.as_str().unwrap_or_default();
        let _ = writeln!(text, "{word:<16} /etc/{} {}", line.path, line.reason);
    }
    if report.left_out > 0 {
        let _ = writeln!(text, "and {} more", report.left_out);
    }
    text
}
