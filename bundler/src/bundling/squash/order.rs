//! Sorts the files of the root image: /etc, then licences and documentation, then package by
//! package, and the kernel's modules last.
//!
//! `pack` packs the files in this order.
//!
//! A SquashFS packs small files and the ends of large ones, one after the other, into shared blocks
//! of 128 KiB. When a package changes, a device fetches each block that holds one of its files. It
//! thereby also fetches the other files in these blocks. Files that change together therefore lie
//! together (docs/decisions.md says what that saves).
//!
//! The first boot of an update reads the files of /etc that a person has changed, from both images.
//! So /etc lies together. Licences have most of their text from each other and seldom change, so
//! /usr/share/doc lies together too.

use std::collections::HashMap;

use anyhow::Result;

use crate::bundling::system::clean::PACKAGE_DATABASE;
use crate::bundling::tree::{Kind, Tree};

/// The folder in which each package has its own files: `NAME.list` with the paths of the package,
/// `NAME.md5sums` and others.
const INFO: &str = "info";
const ETC: &str = "etc/";
const DOC: &str = "usr/share/doc/";
const MODULES: &str = "usr/lib/modules/";

/// Returns the paths of the regular files in that order. A file with several names is there with
/// each name. The order depends only on the names in the tree and on dpkg's lists. Of the
/// packages' files, those of no package come first. A tree without lists is in the order of its
/// paths.
///
/// # Errors
/// A list cannot be read.
pub(crate) fn of_files(tree: &Tree) -> Result<Vec<&str>> {
    let info = format!("{PACKAGE_DATABASE}/{INFO}");
    let mut packages: HashMap<String, &str> = HashMap::new();
    for path in tree.below(&info) {
        let Some((package, kind)) = package_of(&info, path) else { continue };
        if kind == "list" {
            let list = tree.read(path)?;
            let list = String::from_utf8_lossy(&list);
            let files = list.lines().filter_map(|line| line.strip_prefix('/'));
            packages.extend(files.map(|file| (file.to_owned(), package)));
        }
    }
    let package = |path: &str| -> String {
        // Lists from before Debian 13 have the names that files had before /lib became a link to
        // /usr/lib.
        let listed =
            || packages.get(path).or_else(|| packages.get(path.strip_prefix("usr/")?)).copied();
        package_of(&info, path)
            .map(|(package, _)| package)
            .or_else(listed)
            .unwrap_or_default()
            .to_owned()
    };
    let files = tree.iter().filter(|(_, id)| matches!(tree.inode(*id).kind, Kind::File(_)));
    let mut files: Vec<&str> = files.map(|(path, _)| path).collect();
    files.sort_by_cached_key(|path| {
        let (part, package) = match path {
            path if path.starts_with(ETC) => (0, String::new()),
            path if path.starts_with(DOC) => (1, String::new()),
            path if is_module(path) => (3, String::new()),
            path => (2, package(path)),
        };
        (part, package, (*path).to_owned())
    });
    Ok(files)
}

/// Returns true for the files that lie last: the kernel's modules and their indexes.
pub(crate) fn is_module(path: &str) -> bool {
    path.starts_with(MODULES)
}

/// Returns the package and the kind of a file in dpkg's folder `info`.
fn package_of<'a>(info: &str, path: &'a str) -> Option<(&'a str, &'a str)> {
    path.strip_prefix(info)?.strip_prefix('/')?.rsplit_once('.')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new(0);
        for (path, content) in files {
            tree.put(path, 0o644, content.as_bytes());
        }
        tree
    }

    #[test]
    fn etc_lies_first_then_licences_then_files_by_package_and_modules_last() {
        let info = |name: &str| format!("{PACKAGE_DATABASE}/info/{name}");
        let (a, b, sums) = (info("a.list"), info("b:amd64.list"), info("b:amd64.md5sums"));
        let tree = tree(&[
            (&a, "/.\n/etc\n/etc/a.conf\n/usr\n/usr/bin/z\n/usr/share/doc/a/copyright\n"),
            (&b, "/lib/libb.so.1\n/usr/bin/a\n/usr/lib/modules/6/x.ko\n"),
            (&sums, ""),
            ("etc/a.conf", ""),
            ("etc/own", ""),
            ("usr/bin/a", ""),
            ("usr/bin/z", ""),
            ("usr/lib/libb.so.1", ""),
            ("usr/lib/modules/6/x.ko", ""),
            ("usr/share/doc/a/copyright", ""),
        ]);
        let expected = [
            "etc/a.conf",
            "etc/own",
            "usr/share/doc/a/copyright",
            "usr/bin/z",
            &a,
            "usr/bin/a",
            "usr/lib/libb.so.1",
            &b,
            &sums,
            "usr/lib/modules/6/x.ko",
        ];
        assert_eq!(of_files(&tree).unwrap(), expected);
    }

    #[test]
    fn without_a_package_database_it_is_the_order_of_the_paths() {
        let tree = tree(&[("srv/b", ""), ("etc/a", ""), ("usr/bin/c", "")]);
        assert_eq!(of_files(&tree).unwrap(), ["etc/a", "srv/b", "usr/bin/c"]);
    }
}
