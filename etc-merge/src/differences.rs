//! How the device's /etc differs from its image.
//!
//! It looks at the upper and at the image below it. The agent prints the list, and asks which entry
//! of the upper hides a path.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::limits::{Beat, MAX_DEPTH, MAX_ENTRIES, beat};
use crate::tree::entry::Entry;
use crate::tree::marks::Marks;
use crate::tree::node::{self, Node};

/// How one path differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The image has nothing there.
    Added,
    /// Another type or content
    Changed,
    /// Another mode, owner or attribute
    Metadata,
    /// Only the image has it.
    Deleted,
}

/// One path that differs from the image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Below /etc
    pub path: PathBuf,
    /// How
    pub change: Change,
}

/// Returns what differs between `lower` (the image's /etc) and the overlay of `upper` over it. A
/// deleted folder is one difference. Entries of the upper that are equal to the image's are left
/// out.
///
/// # Errors
/// A path cannot be read, a limit, or `tick` returned false.
pub fn differences(
    lower: &Path,
    upper: &Path,
    marks: Marks,
    tick: Beat<'_>,
) -> Result<Vec<Difference>, Error> {
    let mut compare = Compare { marks, tick, found: Vec::new(), entries: 0 };
    let look = |path: &Path| Node::look(path, marks);
    let (lower, upper) = (look(lower)?, look(upper)?);
    if let (Some(lower), Some(upper)) = (lower, upper) {
        if lower.meta != upper.meta {
            compare.say(Path::new(""), Change::Metadata);
        }
        compare.folder(Path::new(""), Some(&lower), &upper, false, 0)?;
    }
    Ok(compare.found)
}

struct Compare<'a> {
    marks: Marks,
    tick: Beat<'a>,
    found: Vec<Difference>,
    entries: usize,
}

impl Compare<'_> {
    fn say(&mut self, path: &Path, change: Change) {
        self.found.push(Difference { path: path.to_owned(), change });
    }

    fn folder(
        &mut self,
        path: &Path,
        lower: Option<&Node>,
        upper: &Node,
        covered: bool,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Limit { what: "folders in each other", most: MAX_DEPTH as u64 });
        }
        let lower = lower.filter(|lower| lower.is_folder());
        // The folders in an opaque folder need no mark of their own.
        let covered = covered || upper.marked.opaque;
        let mut names = node::names(&upper.path)?;
        if let Some(lower) = lower.filter(|_| covered) {
            names.extend(node::names(&lower.path)?);
        }
        for name in names {
            beat(self.tick)?;
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Error::Limit { what: "entries to compare", most: MAX_ENTRIES as u64 });
            }
            let of = |folder: &Node| Node::look(&folder.path.join(&name), self.marks);
            let old = lower.map(of).transpose()?.flatten();
            let new = of(upper)?.filter(|new| !new.is_whiteout(upper.marked.has_whiteouts));
            let path = path.join(&name);
            let [old_entry, new_entry, _] =
                node::entries([old.as_ref(), new.as_ref(), None], false, self.tick)?;
            if let Some(change) = change(old_entry.as_ref(), new_entry.as_ref()) {
                self.say(&path, change);
            }
            if let Some(new) = new.filter(Node::is_folder) {
                self.folder(&path, old.as_ref(), &new, covered, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn change(old: Option<&Entry>, new: Option<&Entry>) -> Option<Change> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(Change::Added),
        (Some(_), None) => Some(Change::Deleted),
        (Some(old), Some(new)) if old.kind != new.kind => Some(Change::Changed),
        (Some(old), Some(new)) => (old.meta != new.meta).then_some(Change::Metadata),
    }
}

/// Returns the entry of the upper that hides the image's `path`: the path itself or a folder above
/// it that is deleted, replaced or opaque. To give back the image's, remove that entry with all
/// that is in it. `None` if nothing hides it. Paths are below /etc.
///
/// # Errors
/// The upper cannot be read.
pub fn hiding(upper: &Path, path: &Path, marks: Marks) -> Result<Option<PathBuf>, Error> {
    let mut at = PathBuf::new();
    let mut in_marked = false;
    for name in path {
        at.push(name);
        let Some(node) = Node::look(&upper.join(&at), marks)? else { return Ok(None) };
        let hides = !node.is_folder() || node.marked.opaque || node.is_whiteout(in_marked);
        if hides || at == path {
            return Ok(Some(at));
        }
        in_marked = node.marked.has_whiteouts;
    }
    Ok(None)
}
