//! Finds the firmware files that kernel modules name, and takes the other files out of the tree.
//!
//! `modinfo` reads the names from a module, and `take` knows which modules stay.
//!
//! The kernel looks in four folders for the plain file, then for a file packed by zstd, then for
//! one packed by xz (`drivers/base/firmware_loader/main.c`). A module names a file, or many files
//! with a pattern of fnmatch(3).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use initramfs::modules::{alias_matches, name_of_path};

use crate::bundling::system::kernel::modinfo::ModInfo;
use crate::bundling::tree::{InodeId, Kind, Tree};

/// The folder of firmware.
const FOLDER: &str = "usr/lib/firmware";
/// Endings of a file's name, in the order in which the kernel tries them.
const ENDINGS: [&str; 3] = ["", ".zst", ".xz"];
/// Most symbolic links on the way to a file. The kernel follows as many.
const LINKS: usize = 40;
/// Most bytes of the list in a manifest, which has 64 KiB for everything.
const LISTED: usize = 24 << 10;
/// The section's name in the manifest, behind `meta.`.
pub const SECTION: &str = "missing-firmware";

/// Modules, and the names or patterns of firmware files that each has.
pub type Named = BTreeMap<String, Vec<String>>;

/// A file that a module names.
struct Found {
    /// The name below a folder of firmware, with the ending.
    name: String,
    /// The links that lead to the file, then the file.
    paths: Vec<String>,
}

/// Returns what the modules of a tree name, and what the drivers name that are built into the
/// kernel. Modules without firmware are left out.
///
/// # Errors
/// A file of the tree cannot be read, or is no module.
pub fn named(tree: &Tree, version: &str) -> Result<Named> {
    let base = format!("usr/lib/modules/{version}");
    let mut named = Named::new();
    for path in tree.below(&base).filter(|path| path.ends_with(".ko")) {
        let info = ModInfo::parse(&tree.read(path)?)
            .with_context(|| format!("{path} is not a kernel module"))?;
        if !info.firmware.is_empty() {
            named.insert(name_of_path(path), info.firmware);
        }
    }
    let built_in = tree.read(&format!("{base}/modules.builtin.modinfo")).unwrap_or_default();
    for record in built_in.split(|byte| *byte == 0) {
        let record = String::from_utf8_lossy(record);
        if let Some((driver, rest)) = record.split_once('.')
            && let Some(name) = rest.strip_prefix("firmware=")
        {
            named.entry(driver.to_owned()).or_default().push(name.to_owned());
        }
    }
    for names in named.values_mut() {
        names.sort_unstable();
        names.dedup();
    }
    Ok(named)
}

/// Returns the named files that the tree does not have.
#[must_use]
pub fn missing(tree: &Tree, version: &str, named: &Named) -> Named {
    let lacks = |name: &&String| find(tree, version, name).is_empty();
    let of_module = |(module, names): (&String, &Vec<String>)| {
        let names: Vec<String> = names.iter().filter(lacks).cloned().collect();
        (!names.is_empty()).then(|| (module.clone(), names))
    };
    named.iter().filter_map(of_module).collect()
}

/// Removes each firmware file of a package that no module names. A file that no package owns stays,
/// because an overlay of the recipe has put it there.
///
/// # Errors
/// A list of dpkg cannot be read.
pub fn keep_named(tree: &mut Tree, version: &str, named: &Named) -> Result<()> {
    let owned = owned(tree)?;
    let files: Vec<String> = files(tree).map(str::to_owned).collect();
    let mut kept: BTreeSet<String> = named
        .values()
        .flatten()
        .flat_map(|name| find(tree, version, name))
        .flat_map(|found| found.paths)
        .collect();
    let strangers = files.iter().filter(|path| !owned.contains(path.as_str()));
    kept.extend(strangers.filter_map(|path| resolve(tree, path)).flatten());
    for path in files.iter().filter(|path| !kept.contains(path.as_str())) {
        tree.remove(path);
    }
    // From the innermost folder on, because a folder can hold only empty folders.
    let is_folder =
        |path: &&str| tree.get(path).is_some_and(|inode| matches!(inode.kind, Kind::Dir));
    let folders: Vec<String> = tree.below(FOLDER).filter(is_folder).map(str::to_owned).collect();
    for folder in folders.iter().rev() {
        if tree.below(folder).next().is_none() {
            tree.remove(folder);
        }
    }
    Ok(())
}

/// Returns the files of these names: each name below `lib/firmware`, and the content.
///
/// # Errors
/// A file of the tree cannot be read.
pub fn contents(tree: &Tree, version: &str, names: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
    let found = names.iter().flat_map(|name| find(tree, version, name));
    let content = |Found { name, paths }: Found| {
        let path = paths.last().context("a file without a path")?;
        Ok((name, tree.read(path)?))
    };
    found.map(content).collect()
}

/// Returns the bytes of all firmware files, each counted once.
#[must_use]
pub fn bytes(tree: &Tree) -> u64 {
    let inodes: BTreeSet<InodeId> = files(tree).filter_map(|path| tree.id(path)).collect();
    let size = |id: InodeId| match &tree.inode(id).kind {
        Kind::File(content) => content.len(),
        _ => 0,
    };
    inodes.into_iter().map(size).sum()
}

/// Returns the list for a manifest: the files by their module. Names the number of modules that do
/// not fit.
#[must_use]
pub fn to_meta(missing: &Named) -> BTreeMap<String, String> {
    let (mut meta, mut length, mut left) = (BTreeMap::new(), 0, 0);
    for (module, names) in missing {
        let names = names.join(", ");
        length += module.len() + names.len() + 2; // with `=` and the line's end
        if length > LISTED {
            left += 1;
        } else {
            meta.insert(module.clone(), names);
        }
    }
    if left > 0 {
        meta.insert("more-modules".to_owned(), left.to_string());
    }
    meta
}

/// Returns the paths below the folder that are no folders.
fn files(tree: &Tree) -> impl Iterator<Item = &str> {
    tree.below(FOLDER)
        .filter(|path| tree.get(path).is_some_and(|inode| !matches!(inode.kind, Kind::Dir)))
}

/// Returns the firmware files that packages own.
fn owned(tree: &Tree) -> Result<BTreeSet<String>> {
    let lists = tree.below("var/lib/dpkg/info").filter(|path| path.ends_with(".list"));
    let mut owned = BTreeSet::new();
    for list in lists {
        let bytes = tree.read(list)?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            // A package can name the folder by the link /lib.
            let path = line.trim_start_matches('/');
            let path = path.strip_prefix("usr/").unwrap_or(path);
            if path.starts_with("lib/firmware/") {
                owned.insert(format!("usr/{path}"));
            }
        }
    }
    Ok(owned)
}

/// Returns the files of a name or a pattern, as the kernel would find them.
fn find(tree: &Tree, version: &str, name: &str) -> Vec<Found> {
    let folders = [
        format!("{FOLDER}/updates/{version}"),
        format!("{FOLDER}/updates"),
        format!("{FOLDER}/{version}"),
        FOLDER.to_owned(),
    ];
    if name.contains(['*', '?', '[']) {
        return folders.iter().flat_map(|folder| matching(tree, folder, name)).collect();
    }
    let mut ways = ENDINGS.iter().flat_map(|end| folders.iter().map(move |dir| (dir, end)));
    let first = ways.find_map(|(folder, end)| {
        let name = format!("{name}{end}");
        Some(Found { paths: resolve(tree, &format!("{folder}/{name}"))?, name })
    });
    first.into_iter().collect()
}

fn matching<'a>(
    tree: &'a Tree,
    folder: &'a str,
    pattern: &'a str,
) -> impl Iterator<Item = Found> + 'a {
    tree.below(folder).filter_map(move |path| {
        let name = &path[folder.len() + 1..];
        let ending = ENDINGS.iter().rev().find(|end| name.ends_with(**end))?;
        let plain = name.strip_suffix(ending)?;
        let paths = alias_matches(pattern, plain).then(|| resolve(tree, path)).flatten()?;
        Some(Found { name: name.to_owned(), paths })
    })
}

/// Returns the links on the way from a path to its file, then the file. `None`: there is no file.
fn resolve(tree: &Tree, path: &str) -> Option<Vec<String>> {
    let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let (mut at, mut paths) = (String::new(), Vec::new());
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => {}
            ".." => at.truncate(at.rfind('/').unwrap_or(0)),
            _ => {
                let next = if at.is_empty() { part } else { format!("{at}/{part}") };
                let Kind::Symlink(target) = &tree.get(&next)?.kind else {
                    at = next;
                    continue;
                };
                if paths.len() == LINKS {
                    return None;
                }
                if target.starts_with('/') {
                    at.clear();
                }
                left.extend(target.split('/').rev().map(str::to_owned));
                paths.push(next);
            }
        }
    }
    let is_file = matches!(tree.get(&at)?.kind, Kind::File(_));
    paths.push(at);
    is_file.then_some(paths)
}
