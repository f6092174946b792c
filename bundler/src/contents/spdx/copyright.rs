//! The licences of a package, as its copyright file says them.
//!
//! `licence` translates them. Only files in the machine-readable format 1.0 are read.

use std::collections::BTreeSet;

use super::licence::{References, translate};
use crate::bundling::tree::{Kind, Tree};
use crate::contents::package::Package;
use crate::contents::paragraph::paragraphs;
use crate::contents::text;

/// Most links that lead to a copyright file.
const LINKS: usize = 4;

/// Returns the licences of all files of a package as one expression. `None`: the system has no
/// copyright file of the package, or not in the machine-readable form.
pub(super) fn declared(
    tree: &Tree,
    package: &Package,
    references: &mut References,
) -> Option<String> {
    let text = read(tree, package.plain_name())?;
    let paragraphs = paragraphs(&text);
    if !paragraphs.first()?.get("Format")?.contains("copyright-format/1.0") {
        return None;
    }
    let licences = || paragraphs.iter().filter_map(|paragraph| paragraph.get("License"));
    // The first line is the name, and the others are the text.
    let text_of = |name: &str| {
        licences().find_map(|licence| {
            let (first, text) = licence.split_once('\n')?;
            let lines = text.lines().map(|line| if line == "." { "" } else { line });
            (first.trim() == name).then(|| lines.collect::<Vec<_>>().join("\n"))
        })
    };
    let mut found = BTreeSet::new();
    for paragraph in paragraphs.iter().filter(|paragraph| paragraph.get("Files").is_some()) {
        let name = paragraph.get("License").and_then(|licence| licence.lines().next());
        let Some(name) = name else { continue };
        let Some(one) = translate(name, &package.source.0, text_of, references) else { continue };
        // A list of licences is joined with the lists of the other files.
        if one.contains(" OR ") {
            found.insert(one);
        } else {
            found.extend(one.split(" AND ").map(str::to_owned));
        }
    }
    let are_more = found.len() > 1;
    let found: Vec<String> = found
        .into_iter()
        .map(|one| if are_more && one.contains(" OR ") { format!("({one})") } else { one })
        .collect();
    (!found.is_empty()).then(|| found.join(" AND "))
}

/// Reads /usr/share/doc/NAME/copyright. The folder may be a link to that of another package.
fn read(tree: &Tree, name: &str) -> Option<String> {
    let mut path = format!("usr/share/doc/{name}/copyright");
    for _ in 0..LINKS {
        let folder = path.rsplit_once('/')?.0.to_owned();
        let linked = |path: &str| match tree.get(path).map(|inode| &inode.kind) {
            Some(Kind::Symlink(target)) => {
                let above = path.rsplit_once('/')?.0;
                Some(joined(above, target))
            }
            _ => None,
        };
        if let Some(target) = linked(&folder) {
            path = format!("{target}/copyright");
        } else if let Some(target) = linked(&path) {
            path = target;
        } else {
            break;
        }
    }
    text::read(tree, &path)
}

/// Returns where a link in the folder `above` leads.
fn joined(above: &str, target: &str) -> String {
    let mut parts: Vec<&str> =
        if target.starts_with('/') { Vec::new() } else { above.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
