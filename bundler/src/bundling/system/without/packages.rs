//! Takes whole packages out: their files, and dpkg's entries of them.
//!
//! `parts` names the packages. The libraries that only they need go with them. So dpkg's list
//! describes the image, and a scanner finds no package that is not there.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::bundling::tree::{Kind, Tree, glob};

/// dpkg's database, before `clean` gives it its place in the image.
const DATABASE: &str = "var/lib/dpkg";

/// An entry of dpkg's list.
struct Package {
    name: String,
    architecture: String,
    entry: String,
    is_library: bool,
    /// Its name and the names that it provides.
    names: BTreeSet<String>,
    /// The names that it depends on or recommends.
    needs: BTreeSet<String>,
}

/// Takes the packages out whose names match, and the libraries that only they need. A tree without
/// dpkg's list stays as it is.
///
/// # Errors
/// The list is not text, or the tar cannot be read.
pub(super) fn leave_out(tree: &mut Tree, patterns: &[&str]) -> Result<()> {
    let status = format!("{DATABASE}/status");
    if patterns.is_empty() || tree.get(&status).is_none() {
        return Ok(());
    }
    let text = String::from_utf8(tree.read(&status)?).context("dpkg's list is not text")?;
    let packages: Vec<Package> = text.split("\n\n").filter_map(Package::parse).collect();
    let gone = gone(&packages, patterns);
    let mut kept_paths = BTreeSet::new();
    for package in packages.iter().filter(|package| !gone.contains(&package.name)) {
        kept_paths.extend(package.paths(tree)?);
    }
    let mut folders = Vec::new();
    for package in packages.iter().filter(|package| gone.contains(&package.name)) {
        for path in package.paths(tree)?.into_iter().filter(|path| !kept_paths.contains(path)) {
            match tree.get(&path).map(|inode| &inode.kind) {
                Some(Kind::Dir) => folders.push(path),
                Some(_) => tree.remove(&path),
                None => {}
            }
        }
        let [plain, full] = package.stems();
        tree.remove_below(&format!("{DATABASE}/info"), |path| {
            let stem = path.rsplit_once('.').map(|(stem, _)| stem);
            stem == Some(plain.as_str()) || stem == Some(full.as_str())
        });
    }
    // The deepest first, because a folder may hold only a folder.
    folders.sort();
    for folder in folders.iter().rev() {
        if tree.below(folder).next().is_none() {
            tree.remove(folder);
        }
    }
    let kept = packages.iter().filter(|package| !gone.contains(&package.name));
    let text: String = kept.map(|package| format!("{}\n\n", package.entry)).collect();
    tree.put(&status, 0o644, text.into_bytes());
    Ok(())
}

/// Returns the names of the packages that match, and of the libraries that only these need.
fn gone(packages: &[Package], patterns: &[&str]) -> BTreeSet<String> {
    let is_named =
        |package: &&Package| patterns.iter().any(|pattern| glob::matches(pattern, &package.name));
    let mut gone: BTreeSet<String> =
        packages.iter().filter(is_named).map(|package| package.name.clone()).collect();
    loop {
        let needs = |is_gone: bool| -> BTreeSet<&String> {
            let those = packages.iter().filter(|p| gone.contains(&p.name) == is_gone);
            those.flat_map(|package| &package.needs).collect()
        };
        let (needed_before, needed) = (needs(true), needs(false));
        let is_orphan = |package: &&Package| {
            package.is_library
                && !gone.contains(&package.name)
                && package.names.iter().any(|name| needed_before.contains(name))
                && !package.names.iter().any(|name| needed.contains(name))
        };
        let orphans: Vec<String> =
            packages.iter().filter(is_orphan).map(|package| package.name.clone()).collect();
        if orphans.is_empty() {
            return gone;
        }
        gone.extend(orphans);
    }
}

impl Package {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim_matches('\n');
        let field = |name: &str| {
            let mut lines = entry.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let names = |field: Option<&str>| -> BTreeSet<String> {
            let words = field.unwrap_or_default().split([',', '|']);
            let name = |word: &str| {
                let name = word.trim().split([' ', '(', ':']).next().unwrap_or_default();
                name.to_owned()
            };
            words.map(name).filter(|name| !name.is_empty()).collect()
        };
        let name = field("Package")?.to_owned();
        let section = field("Section").unwrap_or_default();
        let mut own = names(field("Provides"));
        own.insert(name.clone());
        let mut needs = names(field("Depends"));
        needs.extend(names(field("Pre-Depends")));
        needs.extend(names(field("Recommends")));
        Some(Self {
            architecture: field("Architecture").unwrap_or_default().to_owned(),
            is_library: ["libs", "oldlibs"].contains(&section) && field("Essential") != Some("yes"),
            names: own,
            needs,
            entry: entry.to_owned(),
            name,
        })
    }

    /// Returns how the names of its files in dpkg's folder `info` may begin.
    fn stems(&self) -> [String; 2] {
        let Self { name, architecture, .. } = self;
        [format!("{DATABASE}/info/{name}"), format!("{DATABASE}/info/{name}:{architecture}")]
    }

    /// Returns the paths of its files and folders, as they are in the tree.
    fn paths(&self, tree: &Tree) -> Result<BTreeSet<String>> {
        let lists = self.stems().map(|stem| format!("{stem}.list"));
        let Some(list) = lists.iter().find(|list| tree.get(list).is_some()) else {
            return Ok(BTreeSet::new());
        };
        let list = tree.read(list)?;
        let list = String::from_utf8_lossy(&list);
        let path = |line: &str| {
            let path = line.trim_start_matches('/');
            // Some packages still name /bin, /lib and /sbin, which are links into /usr.
            let merged = format!("usr/{path}");
            let is_merged = tree.get(path).is_none() && tree.get(&merged).is_some();
            if is_merged { merged } else { path.to_owned() }
        };
        Ok(list.lines().map(path).filter(|path| !path.is_empty() && path != ".").collect())
    }
}
