//! The check that every relative link in Markdown leads somewhere, and that the book is complete.
//!
//! A link leads to a tracked file or folder, and its anchor to a heading there. Every page of docs/
//! stands in docs/SUMMARY.md, and every page of SUMMARY.md exists. Links to other hosts are not
//! looked at: the check needs no network.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::markdown::Page;
use crate::tree::{Tree, folder, join};
use crate::violation::{Check, Violation};

const BOOK: &str = "docs";
const SUMMARY: &str = "docs/SUMMARY.md";

/// One violation for each link that leads nowhere, and each page that the book leaves out.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Violation>> {
    let mut pages = BTreeMap::new();
    for path in tree.files().filter(|path| path.ends_with(".md")) {
        pages.insert(path, Page::parse(&tree.text(path)?));
    }
    let mut all = Vec::new();
    for (path, page) in &pages {
        for link in &page.links {
            if let Some((what, remedy)) = wrong(tree, &pages, path, &link.to) {
                all.push(violation(path, link.line, what, remedy));
            }
        }
    }
    let in_summary = pages.get(SUMMARY).map(|page| &page.links).into_iter().flatten();
    let listed: BTreeSet<_> = in_summary.filter_map(|link| join(BOOK, &link.to)).collect();
    let of_book = pages.keys().filter(|path| folder(path) == BOOK && **path != SUMMARY);
    for path in of_book.filter(|path| !listed.contains(**path)) {
        all.push(violation(path, 1, format!("not in {SUMMARY}"), "add the page there"));
    }
    Ok(all)
}

/// What is wrong with a link on the page `path`, and the remedy.
fn wrong(
    tree: &Tree,
    pages: &BTreeMap<&str, Page>,
    path: &str,
    link: &str,
) -> Option<(String, &'static str)> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let file = file.replace("%20", " ");
    let to = match file.strip_prefix('/') {
        _ if file.is_empty() => Some(path.to_owned()),
        Some(from_root) => join("", from_root),
        None => join(folder(path), &file),
    };
    let Some(to) = to.filter(|to| tree.holds(to)) else {
        return Some((format!("the link {link} leads to no tracked file"), "correct the path"));
    };
    let page = pages.get(to.as_str())?;
    (!anchor.is_empty() && !page.anchors.contains(anchor)).then(|| {
        (format!("the link {link} leads to no heading of {to}"), "take the anchor of a heading")
    })
}

fn violation(path: &str, line: usize, what: String, remedy: &'static str) -> Violation {
    let path = path.to_owned();
    Violation { check: Check::Links, path, line, what, remedy, details: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn links_to_missing_files_and_headings_and_pages_outside_the_summary_are_found() {
        let (_dir, tree) = made_up(&[
            ("README.md", "[a](docs/a.md#top)\n[b](docs/gone.md)\n[c](docs/a.md#gone)\n[d](docs)"),
            ("docs/SUMMARY.md", "- [A](a.md)\n- [Missing](missing.md)\n"),
            ("docs/a.md", "# Top\n[up](../README.md) [here](#top) [far](https://x/#y)\n"),
            ("docs/left-out.md", ""),
        ]);
        let found = check(&tree).unwrap();
        let places: Vec<_> = found.iter().map(|v| (v.path.as_str(), v.line)).collect();
        let readme = [("README.md", 2), ("README.md", 3)];
        assert_eq!(places[..2], readme);
        assert_eq!(places[2..], [("docs/SUMMARY.md", 2), ("docs/left-out.md", 1)]);
    }
}
