//! The check that folders are rooms: a few files around one noun, with a header that says which.
//!
//! It looks at the folders below each crate's src. A room has three to ten entries; the src folder
//! itself may have sixteen, and need not have three.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::crates::Package;
use crate::tree::{Tree, folder};
use crate::violation::{Check, Violation};

const FEWEST: usize = 3;
const MOST: usize = 10;
const MOST_IN_SRC: usize = 16;
const HEADER_LINES: usize = 2;

/// The violations of every folder of Rust files below the src folders of `packages`.
pub(crate) fn check(tree: &Tree, packages: &[Package]) -> Result<Vec<Violation>> {
    let mut all = Vec::new();
    for package in packages {
        let src = format!("{}/src", package.dir);
        for (room, entries) in rooms(tree, &src) {
            // Cargo's own folder: each file in it is a program.
            if room == format!("{src}/bin") {
                continue;
            }
            let header = header(tree, package, &room);
            let place = header.clone().unwrap_or_else(|| room.clone());
            let mut wrong = |what: String, remedy: &'static str| {
                let (path, line, details) = (place.clone(), 1, Vec::new());
                all.push(Violation { check: Check::Rooms, path, line, what, remedy, details });
            };
            let most = if room == src { MOST_IN_SRC } else { MOST };
            if entries.len() > most {
                let what = format!("{room} has {} entries, at most {most}", entries.len());
                wrong(what, "move those that share a noun into a folder");
            }
            if room != src && entries.len() < FEWEST {
                let what = format!("{room} has {} entries, at least {FEWEST}", entries.len());
                wrong(what, "put them back into the folder above, or join them");
            }
            if room != src && header_lines(tree, header.as_deref())? < HEADER_LINES {
                let what = format!("{room} has no header of {HEADER_LINES} lines or more");
                wrong(what, "say in its mod.rs what it is for and what it leaves to others (//!)");
            }
        }
    }
    Ok(all)
}

/// Every folder from `src` down that holds Rust files, itself or below, with its entries.
fn rooms<'a>(tree: &'a Tree, src: &str) -> BTreeMap<String, BTreeSet<&'a str>> {
    let mut rooms: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let below = format!("{src}/");
    for file in tree.files().filter(|file| file.starts_with(&below)) {
        let mut entry = file;
        while entry != src {
            let room = folder(entry);
            rooms.entry(room.to_owned()).or_default().insert(entry);
            entry = room;
        }
    }
    rooms.retain(|_, entries| entries.iter().any(|entry| entry.ends_with(".rs")));
    rooms
}

/// The file whose header describes `room`: mod.rs, the room's name with .rs beside it, or the root
/// of a program that lies in the room.
fn header(tree: &Tree, package: &Package, room: &str) -> Option<String> {
    let usual = [format!("{room}/mod.rs"), format!("{room}.rs")];
    let root = package.roots.iter().filter(|root| folder(root) == room).cloned();
    usual.into_iter().chain(root).find(|path| tree.holds(path))
}

/// How many lines of the header say something.
fn header_lines(tree: &Tree, file: Option<&str>) -> Result<usize> {
    let Some(file) = file else { return Ok(0) };
    let text = tree.text(file)?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("//!"));
    Ok(lines.filter(|line| !line.trim().is_empty()).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crates;
    use crate::tree::made_up;

    /// The rooms violations of a crate `a` with these files below a/src, as "path: what".
    fn checked(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(p, text)| (format!("a/src/{p}"), *text)).collect();
        let mut all = vec![("Cargo.toml", "[workspace]\nmembers = ['a']"), ("a/Cargo.toml", "")];
        all.extend(files.iter().map(|(path, text)| (path.as_str(), *text)));
        let (_dir, tree) = made_up(&all);
        let found = check(&tree, &crates::of(&tree).unwrap()).unwrap();
        found.iter().map(|v| format!("{}: {}", v.path, v.what)).collect()
    }

    #[test]
    fn a_folder_of_eleven_entries_is_too_full_and_one_of_two_too_empty() {
        let header = "//! One.\n//! Two.\n";
        let names: Vec<_> = (0..10).map(|n| format!("full/{n}.rs")).collect();
        let mut files = vec![("lib.rs", ""), ("full/mod.rs", header)];
        files.extend(names.iter().map(|name| (name.as_str(), "")));
        files.extend([("empty/mod.rs", header), ("empty/one.rs", "")]);
        let empty = "a/src/empty/mod.rs: a/src/empty has 2 entries, at least 3";
        let full = "a/src/full/mod.rs: a/src/full has 11 entries, at most 10";
        assert_eq!(checked(&files), [empty, full]);
    }

    #[test]
    fn a_src_folder_may_have_sixteen_entries_and_no_more() {
        let names: Vec<_> = (0..15).map(|n| format!("{n}.rs")).collect();
        let mut files = vec![("lib.rs", "")];
        files.extend(names.iter().map(|name| (name.as_str(), "")));
        assert!(checked(&files).is_empty());
        files.push(("more.rs", ""));
        assert_eq!(checked(&files), ["a/src/lib.rs: a/src has 17 entries, at most 16"]);
    }

    #[test]
    fn a_folder_without_a_header_of_two_lines_is_found() {
        let (b, c) = (("x/b.rs", ""), ("x/c.rs", ""));
        let wrong = ["a/src/x/mod.rs: a/src/x has no header of 2 lines or more"];
        assert_eq!(checked(&[("x/mod.rs", "//! One.\n//!\n"), b, c]), wrong);
        let beside = ("x.rs", "//! One.\n//! Two.\n");
        assert!(checked(&[beside, ("x/a.rs", ""), b, c]).is_empty());
    }
}
