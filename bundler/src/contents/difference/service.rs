//! The units that systemd starts, as links say.
//!
//! A unit is enabled by a link in a folder `*.wants` or `*.requires`, in /etc or by its package, or
//! by another name (`display-manager.service`). It is masked by a link to /dev/null.

use std::collections::BTreeMap;

use crate::bundling::tree::{Kind, Tree};

/// Returns what is said of each unit: `enabled`, `masked`, or which unit it is. Units of users have
/// `user/` before their name.
pub(super) fn services(tree: &Tree) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (folder, prefix) in [
        ("usr/lib/systemd/system", ""),
        ("usr/lib/systemd/user", "user/"),
        ("etc/systemd/system", ""),
        ("etc/systemd/user", "user/"),
    ] {
        let is_local = folder.starts_with("etc/");
        for path in tree.below(folder) {
            let Some(Kind::Symlink(target)) = tree.get(path).map(|inode| &inode.kind) else {
                continue;
            };
            let name = &path[folder.len() + 1..];
            let (wanting, unit) = name.rsplit_once('/').unwrap_or(("", name));
            let unit = format!("{prefix}{unit}");
            if target == "/dev/null" && wanting.is_empty() {
                found.insert(unit, "masked".to_owned());
            } else if wanting.ends_with(".wants") || wanting.ends_with(".requires") {
                found.entry(unit).or_insert_with(|| "enabled".to_owned());
            } else if is_local && wanting.is_empty() {
                let other = target.rsplit('/').next().unwrap_or(target);
                found.insert(unit, format!("is {other}"));
            }
        }
    }
    found
}
