//! What a renewed lock changes, in lines for people.

use std::collections::{BTreeMap, BTreeSet};

use crate::lock::{Lock, Package};

/// Returns a line for each package, suite and account that differs. Empty: nothing does.
#[must_use]
pub fn changes(old: &Lock, new: &Lock) -> Vec<String> {
    let mut lines = Vec::new();
    let dates = |lock: &Lock| -> BTreeMap<String, String> {
        lock.suites.iter().map(|suite| (suite.name.clone(), suite.date.clone())).collect()
    };
    compare(&mut lines, "suite ", &dates(old), &dates(new));
    compare(&mut lines, "", &versions(&old.packages), &versions(&new.packages));
    let same: BTreeSet<_> = old.packages.iter().collect();
    for package in &new.packages {
        let is_other = |old: &&Package| {
            (&old.name, &old.architecture, &old.version)
                == (&package.name, &package.architecture, &package.version)
        };
        if !same.contains(package)
            && let Some(old) = old.packages.iter().find(is_other)
            && old.origin.as_ref().map(|o| &o.sha256) != package.origin.as_ref().map(|o| &o.sha256)
        {
            lines.push(format!("{} {}: another file", package.name, package.version));
        }
    }
    let text = |table: &BTreeMap<String, u32>| -> BTreeMap<String, String> {
        table.iter().map(|(name, number)| (name.clone(), number.to_string())).collect()
    };
    compare(&mut lines, "user ", &text(&old.users), &text(&new.users));
    compare(&mut lines, "group ", &text(&old.groups), &text(&new.groups));
    lines
}

/// Returns the versions by name. A name stands twice with two architectures, which are then named.
fn versions(packages: &[Package]) -> BTreeMap<String, String> {
    let mut count = BTreeMap::new();
    for package in packages {
        *count.entry(&package.name).or_insert(0) += 1;
    }
    let name = |package: &Package| match count[&package.name] {
        1 => package.name.clone(),
        _ => format!("{}:{}", package.name, package.architecture),
    };
    packages.iter().map(|package| (name(package), package.version.clone())).collect()
}

fn compare(
    lines: &mut Vec<String>,
    kind: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for name in names {
        lines.push(match (old.get(name), new.get(name)) {
            (None, Some(now)) => format!("+ {kind}{name} {now}"),
            (Some(before), None) => format!("- {kind}{name} {before}"),
            (Some(before), Some(now)) if before != now => {
                format!("  {kind}{name} {before} -> {now}")
            }
            _ => continue,
        });
    }
}
