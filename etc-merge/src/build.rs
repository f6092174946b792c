//! The whole of a boot: merge, or copy if that is not possible.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;
use crate::limits::Beat;
use crate::merge::plan;
use crate::report::Report;
use crate::sides::Sides;
use crate::write::mine_wins;

/// Makes the new upper at `target`, which must not exist or be an empty folder. Its parent must
/// exist.
///
/// It merges. If that is not possible, it empties `target` and copies the old upper; the report has
/// the reason. `beat` feeds the watchdog. From its first `false` on it only feeds the watchdog, and
/// the old upper is copied. Nothing is synced: call `syncfs`, then rename.
///
/// # Errors
/// `target` cannot be written, not even with the copy: the disk is full or broken.
pub fn build(sides: &Sides<'_>, target: &Path, beat: Beat<'_>) -> Result<Report, Error> {
    let merged = plan(sides, beat).and_then(|plan| plan.write(target, beat));
    let error = match merged {
        Ok(report) => return Ok(report),
        Err(error) => error,
    };
    match fs::remove_dir_all(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::at("emptying", target)(error));
        }
        _ => {}
    }
    let mut report = mine_wins(sides, target, beat)?;
    report.fallback = Some(error.to_string());
    Ok(report)
}
