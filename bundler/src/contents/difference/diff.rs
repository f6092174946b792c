//! Compares two systems.
//!
//! `text` shows the result to people.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};

use super::change::{Change, changes};
use super::file::{self, Facts, FileChange};
use super::service::services;
use crate::bundling::tree::Kind;
use crate::contents::system::System;
use crate::contents::text;
use crate::lock::Accounts;

/// One of the two systems.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) file: String,
    pub(super) packages: usize,
    pub(super) files: usize,
    /// Bytes of all files, unpacked.
    pub(super) bytes: u64,
}

/// What differs between two systems.
#[derive(Debug)]
pub struct Diff {
    pub(super) old: Side,
    pub(super) new: Side,
    /// Versions.
    pub(super) packages: Vec<Change<String>>,
    /// Numbers, `user NAME` and `group NAME`.
    pub(super) users: Vec<Change<u32>>,
    pub(super) groups: Vec<Change<u32>>,
    pub(super) services: Vec<Change<String>>,
    pub(super) files: Vec<FileChange>,
}

impl Diff {
    /// Compares two systems. Lists of packages are compared if one side has a list.
    ///
    /// # Errors
    /// Only one side has a list of packages ([`crate::contents::SystemError::NoPackages`]), or a
    /// content cannot be read.
    pub fn of(old: &System, new: &System) -> Result<Self> {
        let versions = |system: &System| -> Result<BTreeMap<String, String>> {
            if old.packages.is_none() && new.packages.is_none() {
                return Ok(BTreeMap::new());
            }
            let packages = system.packages()?.iter();
            Ok(packages.map(|package| (package.name.clone(), package.version.clone())).collect())
        };
        let packages = changes(&versions(old)?, &versions(new)?);
        let accounts = |system: &System| {
            let read = |path| text::read(&system.tree, path).unwrap_or_default();
            Accounts::parse(read("etc/passwd").as_bytes(), read("etc/group").as_bytes())
        };
        let (before, now) = (accounts(old), accounts(new));
        Ok(Self {
            old: side(old),
            new: side(new),
            packages,
            users: changes(&before.users, &now.users),
            groups: changes(&before.groups, &now.groups),
            services: changes(&services(&old.tree), &services(&new.tree)),
            files: file::compare(old, new)?,
        })
    }

    /// Returns the differences as JSON for programs. `old` or `new` is null where that side has
    /// nothing.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let side = |side: &Side| {
            json!({
                "file": side.file, "packages": side.packages, "files": side.files,
                "bytes": side.bytes,
            })
        };
        let facts = |facts: &Facts| {
            json!({
                "kind": facts.kind, "bytes": facts.bytes, "mode": format!("{:04o}", facts.mode),
                "uid": facts.uid, "gid": facts.gid, "target": facts.target,
            })
        };
        let file = |file: &FileChange| {
            let Change { name, old, new } = &file.change;
            json!({
                "path": name, "package": file.package, "what": file.what,
                "old": old.as_ref().map(facts), "new": new.as_ref().map(facts),
            })
        };
        json!({
            "old": side(&self.old),
            "new": side(&self.new),
            "packages": rows(&self.packages),
            "users": rows(&self.users),
            "groups": rows(&self.groups),
            "services": rows(&self.services),
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
        })
    }
}

fn rows<V: serde::Serialize>(changes: &[Change<V>]) -> Vec<Value> {
    let row =
        |change: &Change<V>| json!({ "name": change.name, "old": change.old, "new": change.new });
    changes.iter().map(row).collect()
}

fn side(system: &System) -> Side {
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    for (_, id) in system.tree.iter() {
        if let Kind::File(content) = &system.tree.inode(id).kind
            && seen.insert(id)
        {
            bytes += content.len();
        }
    }
    Side {
        file: system.path.display().to_string(),
        packages: system.packages.as_ref().map_or(0, Vec::len),
        files: seen.len(),
        bytes,
    }
}
