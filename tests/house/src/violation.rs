//! One broken rule: the place, what is wrong, and what to do about it.
//!
//! A violation is printed as one line, `path:line: what is wrong; remedy`. A circle of imports
//! prints its arrows below that line, indented.

use std::fmt;

/// Which rule a violation breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    /// Files that import each other in a circle.
    Circles,
    /// Folders with too few or too many entries, or without a header.
    Rooms,
    /// Lines that are too long.
    Columns,
    /// Links that lead nowhere.
    Links,
    /// Characters that a serial console may not show.
    Messages,
}

impl Check {
    const ALL: [Self; 5] = [Self::Circles, Self::Rooms, Self::Columns, Self::Links, Self::Messages];
}

/// One broken rule. Violations sort by check, then by place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) check: Check,
    /// The file or folder, relative to the root of the repository.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
    /// Further lines below the first one.
    pub(crate) details: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.path, self.line, self.what, self.remedy)?;
        self.details.iter().try_for_each(|detail| write!(f, "\n    {detail}"))
    }
}

/// The number of violations of each check, such as "columns 3, links 1".
pub(crate) fn summary(violations: &[Violation]) -> String {
    let count = |check| violations.iter().filter(|v| v.check == check).count();
    let counts = Check::ALL.iter().map(|&check| (check, count(check))).filter(|&(_, n)| n > 0);
    let words: Vec<_> =
        counts.map(|(check, n)| format!("{} {n}", format!("{check:?}").to_lowercase())).collect();
    words.join(", ")
}
