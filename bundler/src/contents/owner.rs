//! Says which package a file belongs to.
//!
//! dpkg's lists name the files of each package. A list may name a file by its old place (`/bin`),
//! where a link stands today, and by the place that a diversion has given to another package.
//! `bundling` unpacks the modules of a kernel and takes them out of the list, so a folder of
//! modules belongs to its kernel's package. What dpkg keeps about a package belongs to it too.

use std::collections::{BTreeMap, HashMap};

use crate::bundling::tree::{Kind, Tree};
use crate::contents::package::Package;
use crate::contents::text;

/// The owners of a tree's files.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// The index of the package of each path.
    of_path: HashMap<String, usize>,
    /// The index of the kernel's package of each version.
    of_modules: BTreeMap<String, usize>,
    /// Where dpkg keeps a package's lists and scripts, with a slash at the end.
    info: String,
    /// The index of each package, by its name without an architecture.
    of_name: HashMap<String, usize>,
}

impl Owners {
    /// Reads the lists in `database` of `packages`.
    pub(super) fn read(tree: &Tree, database: &str, packages: &[Package]) -> Self {
        let text = |path: &str| text::read(tree, &format!("{database}/{path}")).unwrap_or_default();
        // Each diversion is three lines: a path, its new place, and the package that keeps the
        // path.
        let diversions = text("diversions");
        let lines: Vec<&str> = diversions.lines().collect();
        let (diversions, _) = lines.as_chunks::<3>();
        let diverted: HashMap<&str, (&str, &str)> =
            diversions.iter().map(|[from, to, keeper]| (*from, (*to, *keeper))).collect();
        let mut owners = Self { info: format!("{database}/info/"), ..Self::default() };
        for (index, package) in packages.iter().enumerate() {
            let name = package.plain_name();
            owners.of_name.entry(name.to_owned()).or_insert(index);
            let mut list = text(&format!("info/{name}:{}.list", package.architecture));
            if list.is_empty() {
                list = text(&format!("info/{name}.list"));
            }
            for path in list.lines() {
                let path = match diverted.get(path) {
                    Some((to, keeper)) if *keeper != name => to,
                    _ => path,
                };
                let path = path.trim_matches('/');
                owners.of_path.entry(resolved(tree, path)).or_insert(index);
            }
            if let Some(version) = name.strip_prefix("linux-image-") {
                let version = version.strip_suffix("-unsigned").unwrap_or(version);
                owners.of_modules.insert(version.to_owned(), index);
            }
        }
        owners
    }

    /// Returns the index of the package of a path.
    pub(super) fn of(&self, path: &str) -> Option<usize> {
        let modules = || {
            let version = path.strip_prefix("usr/lib/modules/")?.split('/').next()?;
            self.of_modules.get(version)
        };
        let of_dpkg = || {
            let (name, _) = path.strip_prefix(&self.info)?.rsplit_once('.')?;
            self.of_name.get(name.split_once(':').map_or(name, |(name, _)| name))
        };
        self.of_path.get(path).or_else(modules).or_else(of_dpkg).copied()
    }
}

/// Follows the link at the beginning of a path: /bin is usr/bin today.
fn resolved(tree: &Tree, path: &str) -> String {
    if let Some((first, rest)) = path.split_once('/')
        && let Some(Kind::Symlink(target)) = tree.get(first).map(|inode| &inode.kind)
    {
        return format!("{}/{rest}", target.trim_matches('/'));
    }
    path.to_owned()
}
