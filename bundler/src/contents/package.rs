//! The installed packages of a tree, from dpkg's list.
//!
//! A root filesystem has the list in /var/lib/dpkg, and an image in `bundling::clean`'s place.

use crate::bundling::system::clean::PACKAGE_DATABASE;
use crate::bundling::tree::{Kind, Tree};
use crate::contents::paragraph::paragraphs;

/// An installed package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Package {
    /// Its name, and with another architecture's package of the same name also `:ARCHITECTURE`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, `all` for every one.
    pub architecture: String,
    /// Name and version of the source package that it was built from.
    pub source: (String, String),
    /// Who maintains it: `NAME <ADDRESS>`.
    pub maintainer: String,
    /// Who distributes it, where the package says so. Debian's packages do not.
    pub origin: Option<String>,
}

impl Package {
    /// Returns the name without an architecture.
    #[must_use]
    pub fn plain_name(&self) -> &str {
        self.name.split_once(':').map_or(&self.name, |(name, _)| name)
    }
}

/// Returns the folder of dpkg's database, if the tree has one.
pub(super) fn database(tree: &Tree) -> Option<&'static str> {
    let is_list = |dir: &&str| {
        let list = tree.get(&format!("{dir}/status"));
        list.is_some_and(|inode| matches!(inode.kind, Kind::File(_)))
    };
    ["var/lib/dpkg", PACKAGE_DATABASE].into_iter().find(is_list)
}

/// Reads the text of dpkg's list, sorted by name. Packages that are not installed are left out.
pub(super) fn packages(status: &str) -> Vec<Package> {
    let mut all = Vec::new();
    for paragraph in paragraphs(status) {
        let field = |name| paragraph.get(name).unwrap_or_default().to_owned();
        let (name, version, architecture) =
            (field("Package"), field("Version"), field("Architecture"));
        if name.is_empty() || !field("Status").ends_with(" installed") {
            continue;
        }
        // `Source: NAME` or `Source: NAME (VERSION)`, and nothing if both are the package's.
        let source = field("Source");
        let source = match source.split_once(" (") {
            Some((name, version)) => (name.to_owned(), version.trim_end_matches(')').to_owned()),
            None if source.is_empty() => (name.clone(), version.clone()),
            None => (source, version.clone()),
        };
        let (maintainer, origin) = (field("Maintainer"), paragraph.get("Origin"));
        let origin = origin.map(str::to_owned);
        all.push(Package { name, version, architecture, source, maintainer, origin });
    }
    all.sort();
    // dpkg allows two architectures of a package beside each other.
    let twins: Vec<String> = all
        .windows(2)
        .filter(|pair| pair[0].name == pair[1].name)
        .map(|pair| pair[0].name.clone())
        .collect();
    for package in all.iter_mut().filter(|package| twins.contains(&package.name)) {
        package.name = format!("{}:{}", package.name, package.architecture);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_without_what_is_not_installed() {
        let entry = |name: &str, status: &str, architecture: &str, more: &str| {
            format!(
                "Package: {name}\nStatus: install ok {status}\nVersion: 1:2-3\nArchitecture: \
                 {architecture}\n{more}\n"
            )
        };
        let text = [
            entry("zlib1g", "installed", "i386", "Source: zlib (9)\n"),
            entry("zlib1g", "installed", "amd64", "Source: zlib (9)\n"),
            entry("gone", "config-files", "all", ""),
            entry("b", "installed", "all", "Origin: Us\nMaintainer: M <m@x>\nSource: c\n"),
            entry("a", "installed", "all", ""),
        ];
        let found = packages(&text.concat());
        let names: Vec<_> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "zlib1g:amd64", "zlib1g:i386"]);
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(found[0].source, pair("a", "1:2-3"));
        assert_eq!(found[1].source, pair("c", "1:2-3"));
        assert_eq!(found[2].source, pair("zlib", "9"));
        assert_eq!((found[1].origin.as_deref(), &*found[1].maintainer), (Some("Us"), "M <m@x>"));
        assert_eq!(found[3].plain_name(), "zlib1g");
    }
}
