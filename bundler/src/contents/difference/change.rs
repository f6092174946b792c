//! Names that stand for something in one system or in both: what differs.
//!
//! `diff` compares packages, accounts, services and files with it.

use std::collections::{BTreeMap, BTreeSet};

/// A name whose value differs. At least one side has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change<V> {
    pub(super) name: String,
    pub(super) old: Option<V>,
    pub(super) new: Option<V>,
}

impl<V> Change<V> {
    /// Returns the mark of a line: added, removed or changed.
    pub(super) fn mark(&self) -> char {
        match (&self.old, &self.new) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        }
    }
}

/// Returns the names whose values differ, sorted.
pub(super) fn changes<V: Clone + PartialEq>(
    old: &BTreeMap<String, V>,
    new: &BTreeMap<String, V>,
) -> Vec<Change<V>> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| Change {
        name: name.clone(),
        old: old.get(name).cloned(),
        new: new.get(name).cloned(),
    };
    names.into_iter().map(change).filter(|change| change.old != change.new).collect()
}

/// How many names were added, removed and changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) changed: usize,
}

impl Counts {
    pub(super) fn of<'a, V: 'a>(changes: impl IntoIterator<Item = &'a Change<V>>) -> Self {
        let mut counts = Self::default();
        for change in changes {
            match change.mark() {
                '+' => counts.added += 1,
                '-' => counts.removed += 1,
                _ => counts.changed += 1,
            }
        }
        counts
    }
}
