//! `daruma etc status`: the paths that differ from the image, and how the last merge went.
//!
//! `report` reads the merge. `difference` shows what differs in a path.

use std::fmt::{self, Display};

use etc_merge::{Change, Report, escaped};
use serde::Serialize;
use std::os::unix::ffi::OsStrExt as _;

use crate::device::Device;
use crate::exit::Failure;
use crate::status::etc::place::Place;
use crate::status::etc::report;

/// Everything that `daruma etc status --json` prints. Fields may be added; none changes its
/// meaning.
#[derive(Clone, Debug, Serialize)]
pub struct Changes {
    /// The running slot.
    pub slot: String,
    /// The paths that differ from the image, in order.
    pub changes: Vec<Changed>,
    /// The merge that made this /etc. Absent: it was not made from another one.
    pub merge: Option<Report>,
    /// Why the report of that merge cannot be read.
    pub unreadable_because: Option<String>,
}

/// A path that differs from the image.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// Below /etc, in printable ASCII.
    pub path: String,
    /// `added`, `changed`, `metadata` or `deleted`.
    pub change: &'static str,
}

impl Changes {
    /// Compares the running /etc with its image.
    ///
    /// # Errors
    /// As [`Place::find`] and [`Place::differences`].
    pub fn gather(device: &Device) -> Result<Self, Failure> {
        let slot = device.running()?;
        let found = Place::find(device)?.differences()?;
        let changed = |difference: etc_merge::Difference| Changed {
            path: escaped(difference.path.as_os_str().as_bytes()),
            change: word(difference.change),
        };
        let (merge, unreadable_because) = match report::last(device, slot) {
            Ok(merge) => (merge, None),
            Err(cause) => (None, Some(cause)),
        };
        let changes = found.into_iter().map(changed).collect();
        Ok(Self { slot: slot.to_string(), changes, merge, unreadable_because })
    }
}

/// Returns the word for a change, as [`Changed::change`] has it.
pub(crate) fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Metadata => "metadata",
        Change::Deleted => "deleted",
    }
}

impl Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "slot {}: {} paths differ from the image", self.slot, self.changes.len())?;
        for Changed { path, change } in &self.changes {
            writeln!(f, "  {change:<8} /etc/{path}")?;
        }
        match (&self.merge, &self.unreadable_because) {
            (Some(merge), _) => {
                writeln!(f, "the last merge: {}", report::summary(merge))?;
                for line in report::text(merge, true).lines() {
                    writeln!(f, "  {line}")?;
                }
                Ok(())
            }
            (None, Some(cause)) => writeln!(f, "the last merge: {cause}"),
            (None, None) => writeln!(f, "this /etc was not merged from another system's"),
        }
    }
}
