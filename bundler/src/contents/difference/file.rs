//! What differs between two files of the same name.
//!
//! Times are not compared: nobody runs them. Extended attributes are compared between two tars
//! only, because a bundle's are not read.

use std::collections::BTreeSet;
use std::io;

use anyhow::{Context, Result};

use super::change::Change;
use crate::bundling::tree::{Content, Inode, Kind};
use crate::contents::system::System;

/// A file, as far as it is compared, but for its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    /// `file`, `folder`, `link`, …
    pub(super) kind: &'static str,
    pub(super) bytes: u64,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Where a symbolic link leads, or the numbers of a device.
    pub(super) target: Option<String>,
}

/// A file that differs.
#[derive(Debug)]
pub(super) struct FileChange {
    pub(super) change: Change<Facts>,
    /// The package of the new file, or of the old one.
    pub(super) package: Option<String>,
    /// What differs of a file that both sides have: `content`, `mode`, `owner`, …
    pub(super) what: Vec<&'static str>,
}

impl FileChange {
    /// Returns whether its mode or its owner differs.
    pub(super) fn is_of_rights(&self) -> bool {
        self.what.iter().any(|what| matches!(*what, "mode" | "owner"))
    }
}

fn facts(inode: &Inode) -> Facts {
    let (kind, bytes, target) = match &inode.kind {
        Kind::File(content) => ("file", content.len(), None),
        Kind::Dir => ("folder", 0, None),
        Kind::Symlink(target) => ("link", 0, Some(target.clone())),
        Kind::CharDevice(major, minor) => ("character device", 0, Some(format!("{major}:{minor}"))),
        Kind::BlockDevice(major, minor) => ("block device", 0, Some(format!("{major}:{minor}"))),
        Kind::Fifo => ("pipe", 0, None),
    };
    Facts { kind, bytes, mode: inode.mode, uid: inode.uid, gid: inode.gid, target }
}

/// Returns the files that differ, sorted by path.
///
/// # Errors
/// A content cannot be read.
pub(super) fn compare(old: &System, new: &System) -> Result<Vec<FileChange>> {
    let paths: BTreeSet<&str> =
        old.tree.iter().chain(new.tree.iter()).map(|(path, _)| path).collect();
    let both_have_attributes = old.packed.is_none() && new.packed.is_none();
    let mut found = Vec::new();
    for path in paths {
        let (before, now) = (old.tree.get(path), new.tree.get(path));
        let mut what = Vec::new();
        if let (Some(before), Some(now)) = (before, now) {
            what = differences(before, now).with_context(|| format!("reading /{path}"))?;
            if both_have_attributes && before.xattrs != now.xattrs {
                what.push("attributes");
            }
            if what.is_empty() {
                continue;
            }
        }
        let package = new.package_of(path).or_else(|| old.package_of(path));
        let (old, new) = (before.map(facts), now.map(facts));
        let change = Change { name: format!("/{path}"), old, new };
        found.push(FileChange {
            change,
            package: package.map(|package| package.name.clone()),
            what,
        });
    }
    Ok(found)
}

fn differences(old: &Inode, new: &Inode) -> Result<Vec<&'static str>> {
    let (before, now) = (facts(old), facts(new));
    let mut what = Vec::new();
    if before.kind != now.kind {
        what.push("kind");
    } else if before.target != now.target {
        what.push("target");
    }
    if let (Kind::File(old), Kind::File(new)) = (&old.kind, &new.kind)
        && !are_same(old, new)?
    {
        what.push("content");
    }
    // Every symbolic link has the same mode, and nobody looks at it.
    if before.mode != now.mode && now.kind != "link" {
        what.push("mode");
    }
    if (before.uid, before.gid) != (now.uid, now.gid) {
        what.push("owner");
    }
    Ok(what)
}

fn are_same(old: &Content, new: &Content) -> io::Result<bool> {
    Ok(old.len() == new.len() && old.first_difference(new)?.is_none())
}
