//! Decides what becomes of one path, from its three entries.
//!
//! It is pure: `walk` reads the entries and turns the decision into actions. The table of DESIGN
//! stands in `docs/etc.md`, and each of its rows is a test below.

use std::collections::BTreeMap;

use crate::merge::text;
use crate::report::Outcome;
use crate::three::three;
use crate::tree::entry::{Content, Entry, Kind, Meta};

/// What will be at the path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Result {
    /// What the image has, or nothing if it has nothing.
    Theirs,
    /// Nothing.
    Gone,
    /// An entry.
    Entry { from: From, meta: Meta },
}

/// Where the type and the content come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum From {
    Mine,
    Theirs,
    Merged(Vec<u8>),
}

/// The result, and what the report says about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Decision {
    pub(crate) result: Result,
    pub(crate) note: Option<(Outcome, String)>,
}

impl Decision {
    fn new(result: Result, outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { result, note: Some((outcome, reason.into())) }
    }
}

/// How the content of a file is merged that both sides changed.
pub(crate) enum Rule {
    /// By lines.
    Lines,
    /// It was merged already, with the other account files.
    Done(Vec<u8>),
    /// The device's stays whole, and nobody needs to know.
    Device,
}

/// Decides. `rule` is for files.
pub(crate) fn decide(
    base: Option<&Entry>,
    mine: Option<&Entry>,
    theirs: Option<&Entry>,
    rule: &Rule,
) -> Decision {
    if let Rule::Done(bytes) = rule {
        return done(base, mine, theirs, bytes);
    }
    if mine == theirs || mine == base {
        return Decision { result: Result::Theirs, note: None };
    }
    let device = matches!(rule, Rule::Device);
    let whole = |mine: &Entry| Result::Entry { from: From::Mine, meta: mine.meta.clone() };
    match (mine, theirs) {
        (None, None) => Decision { result: Result::Theirs, note: None },
        (None, Some(_)) if theirs == base || device => {
            Decision::new(Result::Gone, Outcome::Deleted, "")
        }
        (None, Some(_)) => {
            Decision::new(Result::Gone, Outcome::DeletedChanged, "the image changed it")
        }
        (Some(mine), _) if device => Decision::new(whole(mine), Outcome::Mine, "policy"),
        (Some(mine), None) if base.is_none() => Decision::new(whole(mine), Outcome::Mine, ""),
        (Some(mine), None) => {
            Decision::new(whole(mine), Outcome::Kept, "changed here, and the image removed it")
        }
        (Some(mine), Some(theirs)) if !mine.kind.is_like(&theirs.kind) => {
            if base == Some(theirs) {
                return Decision::new(whole(mine), Outcome::Mine, "");
            }
            let (here, there) = (mine.kind.noun(), theirs.kind.noun());
            let reason = format!("here {here}, in the image {there}");
            Decision::new(whole(mine), Outcome::Conflict, reason)
        }
        (Some(mine), Some(theirs)) => merge(base, mine, theirs, rule),
    }
}

/// An account file, whose content was merged before. It is there if one side has it.
fn done(
    base: Option<&Entry>,
    mine: Option<&Entry>,
    theirs: Option<&Entry>,
    bytes: &[u8],
) -> Decision {
    let alone =
        |meta: &Meta| Result::Entry { from: From::Merged(bytes.to_vec()), meta: meta.clone() };
    let result = match (mine, theirs) {
        (Some(mine), Some(theirs)) => {
            return merge(base, mine, theirs, &Rule::Done(bytes.to_vec()));
        }
        (Some(mine), None) => alone(&mine.meta),
        (None, Some(theirs)) if is_content(theirs, bytes) => Result::Theirs,
        (None, Some(theirs)) => alone(&theirs.meta),
        (None, None) => Result::Theirs,
    };
    Decision { result, note: None }
}

/// Merges two entries of one type.
fn merge(base: Option<&Entry>, mine: &Entry, theirs: &Entry, rule: &Rule) -> Decision {
    // What another type had in the base says nothing about this one.
    let base = base.filter(|base| base.kind.is_like(&mine.kind));
    let (from, mut conflicts) = content(base.map(|base| &base.kind), mine, theirs, rule);
    let meta = metadata(base.map(|base| &base.meta), &mine.meta, &theirs.meta, &mut conflicts);
    let is_theirs = meta == theirs.meta
        && match &from {
            From::Theirs => true,
            From::Mine => mine.kind == theirs.kind,
            From::Merged(bytes) => is_content(theirs, bytes),
        };
    let is_mine = meta == mine.meta
        && match &from {
            From::Mine => true,
            From::Theirs => mine.kind == theirs.kind,
            From::Merged(bytes) => is_content(mine, bytes),
        };
    let merged_lines = matches!((&from, rule), (From::Merged(_), Rule::Lines));
    let from = if is_mine { From::Mine } else { from };
    let result = if is_theirs { Result::Theirs } else { Result::Entry { from, meta } };
    if !conflicts.is_empty() {
        return Decision::new(result, Outcome::Conflict, conflicts.join("; "));
    }
    let note = match (is_mine, is_theirs) {
        (_, true) if merged_lines => {
            Some((Outcome::Merged, "the image has the change of here too".to_owned()))
        }
        (_, true) => None,
        (true, false) => Some((Outcome::Mine, String::new())),
        (false, false) => Some((Outcome::Merged, String::new())),
    };
    Decision { result, note }
}

fn is_content(entry: &Entry, bytes: &[u8]) -> bool {
    matches!(&entry.kind, Kind::File(Content::Bytes(content)) if content == bytes)
}

/// Merges the content, and adds a reason if mine stays although theirs changed.
fn content(base: Option<&Kind>, mine: &Entry, theirs: &Entry, rule: &Rule) -> (From, Vec<String>) {
    if let Rule::Done(bytes) = rule {
        return (From::Merged(bytes.clone()), Vec::new());
    }
    let chosen = three(base, &mine.kind, &theirs.kind);
    if !chosen.conflict {
        let is_mine = *chosen.value == mine.kind;
        return (if is_mine { From::Mine } else { From::Theirs }, Vec::new());
    }
    let reason = match (base, &mine.kind, &theirs.kind) {
        (
            Some(Kind::File(Content::Bytes(base))),
            Kind::File(Content::Bytes(mine)),
            Kind::File(Content::Bytes(theirs)),
        ) => match text::merge(base, mine, theirs) {
            Ok(bytes) => return (From::Merged(bytes), Vec::new()),
            Err(reason) => reason,
        },
        (None, ..) => "added here and in the image, and not the same",
        (_, Kind::File(_), _) => text::TOO_LONG,
        _ => "changed here and in the image",
    };
    (From::Mine, vec![reason.to_owned()])
}

/// Merges mode, owner, group and each attribute. Adds a reason for each that mine keeps.
fn metadata(base: Option<&Meta>, mine: &Meta, theirs: &Meta, conflicts: &mut Vec<String>) -> Meta {
    let mut number = |what: &str, base: Option<u32>, mine: u32, theirs: u32| {
        let merged = three(base, mine, theirs);
        if merged.conflict {
            conflicts.push(format!("{what}: changed here and in the image"));
        }
        merged.value
    };
    let mode = number("mode", base.map(|base| base.mode), mine.mode, theirs.mode);
    let uid = number("owner", base.map(|base| base.uid), mine.uid, theirs.uid);
    let gid = number("group", base.map(|base| base.gid), mine.gid, theirs.gid);
    let mut xattrs = BTreeMap::new();
    let none = BTreeMap::new();
    let old = base.map_or(&none, |base| &base.xattrs);
    let of_mine = mine.xattrs.keys().filter(|name| !old.contains_key(*name));
    let seen = |name: &&Vec<u8>| old.contains_key(*name) || mine.xattrs.contains_key(*name);
    let of_theirs = theirs.xattrs.keys().filter(|name| !seen(name));
    for name in old.keys().chain(of_mine).chain(of_theirs) {
        let base = base.map(|base| base.xattrs.get(name));
        let merged = three(base, mine.xattrs.get(name), theirs.xattrs.get(name));
        if merged.conflict {
            let name = crate::escaped::escaped(name);
            conflicts.push(format!("attribute {name}: changed here and in the image"));
        }
        if let Some(value) = merged.value {
            xattrs.insert(name.clone(), value.clone());
        }
    }
    Meta { mode, uid, gid, xattrs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str, uid: u32, gid: u32, attribute: Option<&str>) -> Entry {
        let xattrs = attribute.map(|value| (b"security.x".to_vec(), value.as_bytes().to_vec()));
        let meta = Meta { mode: 0o644, uid, gid, xattrs: xattrs.into_iter().collect() };
        Entry { kind: Kind::File(Content::Bytes(content.as_bytes().to_vec())), meta }
    }

    fn decided(base: &Entry, mine: &Entry, theirs: &Entry) -> Decision {
        decide(Some(base), Some(mine), Some(theirs), &Rule::Lines)
    }

    #[test]
    fn owner_group_and_attributes_merge_each_by_itself() {
        let base = file("1", 0, 0, None);
        let mine = file("1", 5, 0, Some("mine"));
        let decision = decided(&base, &mine, &file("2", 0, 6, None));
        let Result::Entry { from, meta } = decision.result else { panic!() };
        assert_eq!((from, (meta.uid, meta.gid)), (From::Theirs, (5, 6)));
        assert_eq!(meta.xattrs, mine.meta.xattrs);
        assert_eq!(decision.note, Some((Outcome::Merged, String::new())));
    }

    #[test]
    fn an_owner_that_both_changed_is_mine_and_reported() {
        let base = file("1", 0, 0, Some("old"));
        let mine = file("1", 5, 0, Some("mine"));
        let decision = decided(&base, &mine, &file("1", 6, 0, Some("theirs")));
        let meta = mine.meta.clone();
        assert_eq!(decision.result, Result::Entry { from: From::Mine, meta });
        let (outcome, reason) = decision.note.unwrap();
        assert_eq!(outcome, Outcome::Conflict);
        assert!(reason.contains("owner") && reason.contains("security.x"), "{reason}");
    }

    #[test]
    fn an_attribute_that_was_removed_here_stays_removed() {
        let base = file("1", 0, 0, Some("old"));
        let mine = file("1", 0, 0, None);
        let decision = decided(&base, &mine, &file("2", 0, 0, Some("old")));
        let Result::Entry { from: From::Theirs, meta } = decision.result else { panic!() };
        assert!(meta.xattrs.is_empty());
    }

    #[test]
    fn a_merge_by_lines_that_gives_the_images_file_needs_no_entry() {
        let base = file("a\nb\nc\nd\n", 0, 0, None);
        let mine = file("A\nb\nc\nd\n", 0, 0, None);
        let decision = decided(&base, &mine, &file("A\nb\nc\nD\n", 0, 0, None));
        assert_eq!(decision.result, Result::Theirs);
        assert_eq!(decision.note.unwrap().0, Outcome::Merged);
    }
}
