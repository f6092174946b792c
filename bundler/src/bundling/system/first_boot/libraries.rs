//! The cache of libraries, which ldconfig.service makes.
//!
//! Debian's packages run ldconfig when they bring a library. A library that the recipe brings into
//! a folder of ld.so.conf is found only if the recipe runs ldconfig too. The default folders need
//! no cache (ld.so(8)).

use std::collections::BTreeSet;

use anyhow::Result;

use crate::bundling::tree::{Kind, Tree, glob};

const CACHE: &str = "etc/ld.so.cache";
const CONFIGURATION: &str = "etc/ld.so.conf";

/// Names a library that ldconfig would add to the cache.
pub(super) fn undone(tree: &Tree) -> Result<Option<String>> {
    if tree.get("usr/sbin/ldconfig").is_none() {
        return Ok(None);
    }
    let Ok(cache) = tree.read(CACHE) else {
        return Ok(Some(format!("/{CACHE} is missing; run `ldconfig` in the recipe")));
    };
    // Paths in the cache end with a NUL.
    let cached: BTreeSet<&[u8]> = cache
        .split(|byte| *byte == 0)
        .filter_map(|text| text.iter().position(|byte| *byte == b'/').map(|at| &text[at..]))
        .collect();
    for folder in folders(tree)? {
        let place = without_links(tree, &folder);
        if is_default(&place) {
            continue;
        }
        for library in libraries(tree, &place)? {
            let is_in = |name: &&str| cached.contains(format!("{folder}/{name}").as_bytes());
            if !names(tree, &place, &library).iter().any(is_in) {
                return Ok(Some(format!(
                    "/{place}/{library} is not in /{CACHE}; run `ldconfig` in the recipe"
                )));
            }
        }
    }
    Ok(None)
}

/// The folders of ld.so.conf, absolute.
fn folders(tree: &Tree) -> Result<Vec<String>> {
    let mut folders = Vec::new();
    let mut files = vec![CONFIGURATION.to_owned()];
    let mut at = 0;
    while at < files.len() {
        let bytes = tree.read(&files[at]).unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(pattern) = line.strip_prefix("include").filter(|rest| rest.starts_with(' '))
            {
                let pattern = pattern.trim();
                let absolute =
                    if pattern.starts_with('/') { "" } else { "/etc/" }.to_owned() + pattern;
                let found: Vec<String> = tree
                    .below("etc")
                    .filter(|path| glob::matches(&absolute, &format!("/{path}")))
                    .filter(|path| !files.iter().any(|file| file == path))
                    .map(str::to_owned)
                    .collect();
                files.extend(found);
            } else if line.starts_with('/') {
                folders.push(line.trim_end_matches('/').to_owned());
            }
        }
        at += 1;
    }
    Ok(folders)
}

/// The path of a folder in the tree. /lib is a link to usr/lib.
fn without_links(tree: &Tree, folder: &str) -> String {
    let path = folder.trim_start_matches('/');
    let (top, rest) = path.split_once('/').unwrap_or((path, ""));
    match tree.get(top).map(|inode| &inode.kind) {
        Some(Kind::Symlink(target)) => {
            format!("{}/{rest}", target.trim_matches('/')).trim_end_matches('/').to_owned()
        }
        _ => path.to_owned(),
    }
}

/// True for the folders in which ld.so looks without a cache.
fn is_default(place: &str) -> bool {
    glob::matches("usr/lib*", place) || glob::matches("usr/lib/*-linux-*", place)
}

/// The names of the libraries that lie in a folder.
fn libraries(tree: &Tree, place: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in tree.below(place) {
        let name = &path[place.len() + 1..];
        let may_be = name.starts_with("lib") && name.contains(".so") && !name.contains('/');
        let Some(Kind::File(content)) = tree.get(path).map(|inode| &inode.kind) else { continue };
        if may_be && content.read()?.starts_with(b"\x7fELF") {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// The names of a library: its file's, and those of the links to it beside it.
fn names<'a>(tree: &'a Tree, place: &str, library: &'a str) -> Vec<&'a str> {
    let leads_to = |path: &&str| match tree.get(path).map(|inode| &inode.kind) {
        Some(Kind::Symlink(target)) => target.rsplit('/').next() == Some(library),
        _ => false,
    };
    let links = tree.below(place).filter(leads_to).filter_map(|path| path.rsplit('/').next());
    std::iter::once(library).chain(links).collect()
}
