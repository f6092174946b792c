//! Reads the three sides, and counts what is read.
//!
//! `walk` asks for each path. The owners of the old sides come with their new numbers.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use crate::error::Error;
use crate::limits::{Beat, MAX_DEPTH, MAX_ENTRIES, beat};
use crate::merge::owners::Owners;
use crate::tree::entry::Entry;
use crate::tree::marks::Marks;
use crate::tree::node::{self, Node};

/// The way to the three sides.
pub(super) struct Reader<'a> {
    pub(super) marks: Marks,
    pub(super) owners: Owners,
    pub(super) beat: Beat<'a>,
    entries: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(marks: Marks, beat: Beat<'a>) -> Self {
        Self { marks, owners: Owners::default(), beat, entries: 0 }
    }

    /// Counts an entry, and feeds the watchdog.
    pub(super) fn step(&mut self) -> Result<(), Error> {
        beat(self.beat)?;
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(Error::Limit { what: "entries to merge", most: MAX_ENTRIES as u64 });
        }
        Ok(())
    }

    /// Looks into the new image.
    pub(super) fn look_new(&self, path: &Path) -> Result<Option<Node>, Error> {
        Node::look(path, self.marks)
    }

    /// Looks into the base or the upper, whose owners may have other numbers by now.
    pub(super) fn look_old(&self, path: &Path) -> Result<Option<Node>, Error> {
        let mut node = self.look_new(path)?;
        if let Some(node) = &mut node {
            self.owners.translate(&mut node.meta);
        }
        Ok(node)
    }

    /// Reads the entries of one path. `unchanged`: its file is the same in both images.
    pub(super) fn entries(
        &mut self,
        nodes: [Option<&Node>; 3],
        unchanged: bool,
    ) -> Result<[Option<Entry>; 3], Error> {
        node::entries(nodes, unchanged, self.beat)
    }

    /// The names in a folder.
    pub(super) fn names(&self, folder: &Node) -> Result<BTreeSet<OsString>, Error> {
        node::names(&folder.path)
    }

    /// True if two folders differ in anything.
    pub(super) fn differs(
        &mut self,
        base: &Node,
        theirs: &Node,
        depth: usize,
    ) -> Result<bool, Error> {
        let names = node::names(&base.path)?;
        if depth > MAX_DEPTH || names != node::names(&theirs.path)? {
            return Ok(true);
        }
        for name in names {
            self.step()?;
            let old = self.look_old(&base.path.join(&name))?;
            let new = self.look_new(&theirs.path.join(&name))?;
            let [old_entry, new_entry, _] =
                self.entries([old.as_ref(), new.as_ref(), None], false)?;
            if old_entry != new_entry {
                return Ok(true);
            }
            if let (Some(old), Some(new)) = (&old, &new)
                && old.is_folder()
                && self.differs(old, new, depth + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
