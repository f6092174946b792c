//! What a merge did, for a person and for programs.
//!
//! `merge` and `accounts` fill it. The caller decides where it is kept and what is shown. It never
//! holds the content of a file, because `shadow` is one of them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::accounts::renumbered::Renumbered;
use crate::escaped::escaped;
use crate::limits::MAX_REPORT;

/// How the new upper came about.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Three sides were merged.
    #[default]
    Merged,
    /// The old upper was copied, because a merge was not possible.
    MineWins,
}

/// What became of one path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Changed on the device only: the device's is there.
    Mine,
    /// Changed by both: both changes are there.
    Merged,
    /// Changed by both, in ways that exclude each other: the device's is there.
    Conflict,
    /// Deleted on the device: deleted.
    Deleted,
    /// Deleted on the device although the image changed it: deleted.
    DeletedChanged,
    /// Changed on the device although the image removed it: the device's is there.
    Kept,
    /// The image's is there, and the device's change is given up: policy, or an account file that
    /// was deleted.
    Image,
    /// A fact about a user or a group that a person must know.
    Account,
    /// A limit, an error or something unknown. The reason says what is there.
    Skipped,
    /// A line of the policy that means nothing.
    Policy,
}

impl Outcome {
    /// True if a person should look at it.
    pub fn needs_a_person(self) -> bool {
        use Outcome::{Account, Conflict, DeletedChanged, Kept, Policy, Skipped};
        matches!(self, Conflict | DeletedChanged | Kept | Account | Skipped | Policy)
    }
}

/// One path and what became of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub struct Line {
    /// Below /etc, in printable ASCII; other bytes and backslashes as `\xNN`. See [`escaped`].
    pub path: String,
    /// What happened
    pub outcome: Outcome,
    /// Why, in plain ASCII; empty if the outcome says all
    pub reason: String,
}

/// How many lines need a person, and how many do not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub struct Counts {
    /// [`Outcome::Mine`] and [`Outcome::Deleted`]
    pub mine: usize,
    /// [`Outcome::Merged`]
    pub merged: usize,
    /// [`Outcome::Image`]
    pub image: usize,
    /// All others, which need a person
    pub conflicts: usize,
}

/// What a merge did.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// How the new upper came about
    pub method: Method,
    /// Why mine won, if it did
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// The counts, with the lines that were left out
    pub counts: Counts,
    /// The paths, in the order of the walk
    pub lines: Vec<Line>,
    /// How many lines were left out ([`MAX_REPORT`])
    #[serde(default)]
    pub left_out: usize,
    /// Accounts whose number is another than before. Files of theirs outside /etc need a chown.
    #[serde(default)]
    pub renumbered: Vec<Renumbered>,
}

impl Report {
    /// Adds a line, or only counts it.
    pub(crate) fn add(&mut self, line: Line) {
        let count = match line.outcome {
            Outcome::Mine | Outcome::Deleted => &mut self.counts.mine,
            Outcome::Merged => &mut self.counts.merged,
            Outcome::Image => &mut self.counts.image,
            _ => &mut self.counts.conflicts,
        };
        *count += 1;
        if self.lines.len() < MAX_REPORT {
            self.lines.push(line);
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn say(&mut self, path: &Path, outcome: Outcome, reason: impl Into<String>) {
        use std::os::unix::ffi::OsStrExt as _;
        let path = escaped(path.as_os_str().as_bytes());
        self.add(Line { path, outcome, reason: reason.into() });
    }

    /// The lines that a person should look at.
    pub fn for_a_person(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.outcome.needs_a_person())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_the_same_after_json() {
        let mut report = Report { fallback: Some("no base".to_owned()), ..Report::default() };
        report.say(Path::new("a\\b"), Outcome::DeletedChanged, "why");
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.contains("deleted-changed"), "{json}");
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        assert_eq!(report.lines[0].path, "a\\x5cb");
    }

    #[test]
    fn a_report_has_an_end_and_counts_the_rest() {
        let mut report = Report::default();
        for _ in 0..MAX_REPORT + 3 {
            report.say(Path::new("a"), Outcome::Conflict, "");
        }
        assert_eq!((report.lines.len(), report.left_out), (MAX_REPORT, 3));
        assert_eq!(report.counts.conflicts, MAX_REPORT + 3);
    }
}
