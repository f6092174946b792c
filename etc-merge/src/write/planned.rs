//! Writes a plan.

use std::fs;
use std::path::Path;

use crate::actions::{Action, Body, Plan};
use crate::error::Error;
use crate::escaped::escaped;
use crate::limits::{Beat, beat};
use crate::report::{Outcome, Report};
use crate::tree::entry::Meta;
use crate::write::copy::{Copy, join};
use crate::write::entry;

impl Plan {
    /// Writes the new upper to `target`, which must not exist or be an empty folder. Returns the
    /// report, with what the file system of `target` could not hold.
    ///
    /// Nothing is synced: call `syncfs`, then rename. The folders must still be as they were when
    /// the plan was computed.
    ///
    /// # Errors
    /// A file cannot be read or written, or the time is over. What was written so far stays.
    pub fn write(&self, target: &Path, tick: Beat<'_>) -> Result<Report, Error> {
        let mut report = self.report.clone();
        let mut copy = Copy { upper: &self.upper, target, marks: self.marks, links: Vec::new() };
        let mut folders: Vec<(&Path, &Meta)> = Vec::new();
        for action in &self.actions {
            beat(tick)?;
            let path = action.path();
            let to = join(target, path);
            let wrong = |error| Error::at("writing", &to)(error);
            match action {
                Action::Put { body: Body::Folder, meta, .. } => {
                    let is_top = path.as_os_str().is_empty();
                    if is_top { entry::top(&to) } else { entry::folder(&to) }.map_err(wrong)?;
                    // A folder may not let its own owner write, so its metadata comes last.
                    folders.push((path, meta));
                }
                Action::Put { body, meta, .. } => {
                    self.put(path, body, &to, tick)?;
                    set_meta(path, &to, meta, &mut report)?;
                }
                Action::Link { first, .. } => {
                    fs::hard_link(join(target, first), &to).map_err(wrong)?;
                }
                Action::Whiteout { .. } => entry::whiteout(&to).map_err(wrong)?,
                Action::Copy { .. } => copy.copy(path, &mut report, tick)?,
            }
        }
        for (path, meta) in folders.into_iter().rev() {
            set_meta(path, &join(target, path), meta, &mut report)?;
        }
        Ok(report)
    }

    fn put(&self, path: &Path, body: &Body, to: &Path, tick: Beat<'_>) -> Result<(), Error> {
        let wrong = |error| Error::at("writing", to)(error);
        let from = match body {
            Body::Merged(bytes) => return entry::bytes(to, bytes).map_err(wrong),
            Body::Special { kind, device } => {
                return entry::special(to, *kind, *device).map_err(wrong);
            }
            Body::Folder => return Ok(()),
            Body::Theirs => self.theirs.join(path),
            Body::Mine | Body::Link(_) => self.upper.join(path),
        };
        match body {
            Body::Link(target) => entry::link(to, target).map_err(wrong)?,
            _ => entry::copy(&from, to, tick)?,
        }
        // A link may have come from the image. Its time does not matter then.
        match fs::symlink_metadata(&from) {
            Ok(stat) => entry::set_time(to, &stat).map_err(wrong),
            Err(_) => Ok(()),
        }
    }
}

fn set_meta(path: &Path, to: &Path, meta: &Meta, report: &mut Report) -> Result<(), Error> {
    let not_held = entry::set_meta(to, meta).map_err(Error::at("writing", to))?;
    for name in not_held {
        let reason = format!("the file system does not hold the attribute {}", escaped(&name));
        report.say(path, Outcome::Skipped, reason);
    }
    Ok(())
}
