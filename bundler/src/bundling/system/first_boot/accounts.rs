//! The users and groups that systemd-sysusers.service makes.
//!
//! Packages call systemd-sysusers for their own file when they are installed. A file that the
//! recipe brings waits for the first boot. The format is sysusers.d(5).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::bundling::tree::{Kind, Tree};

/// Folders of configuration. A file hides those of the same name in later folders.
const FOLDERS: [&str; 3] = ["etc/sysusers.d", "usr/local/lib/sysusers.d", "usr/lib/sysusers.d"];

/// Names what is asked for and does not exist.
pub(super) fn undone(tree: &Tree) -> Result<Option<String>> {
    let (users, groups) = (names(tree, "etc/passwd"), names(tree, "etc/group"));
    for path in files(tree) {
        let text = tree.read(&path)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let words: Vec<&str> =
                line.split_whitespace().map(|word| word.trim_matches('"')).collect();
            let (Some(kind), Some(name)) = (words.first(), words.get(1)) else { continue };
            let is_done = match kind.trim_end_matches(['!', '-', '=']) {
                "u" => users.contains_key(*name),
                "g" => groups.contains_key(*name),
                "m" => words.get(2).is_some_and(|group| {
                    groups.get(*group).is_some_and(|members| members.contains(*name))
                }),
                // A range of numbers, or a comment.
                _ => true,
            };
            if !is_done {
                let name = words[1..words.len().min(3)].join(" ");
                return Ok(Some(format!(
                    "/{path} asks for {kind} {name}; run `systemd-sysusers` in the recipe"
                )));
            }
        }
    }
    Ok(None)
}

/// The files that count.
fn files(tree: &Tree) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let paths = FOLDERS.iter().flat_map(|folder| tree.below(folder));
    paths
        .filter(|path| path.ends_with(".conf"))
        .filter(|path| seen.insert(path.rsplit('/').next().unwrap_or(path)))
        .filter(|path| tree.get(path).is_some_and(|inode| matches!(inode.kind, Kind::File(_))))
        .map(str::to_owned)
        .collect()
}

/// Each name of an account file, with the names in its fourth field (a group's members).
fn names(tree: &Tree, path: &str) -> BTreeMap<String, BTreeSet<String>> {
    let bytes = tree.read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let members = fields.nth(2).unwrap_or_default().split(',').map(str::to_owned);
        Some((name, members.collect()))
    };
    text.lines().filter_map(entry).collect()
}
