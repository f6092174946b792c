//! The crates of the workspace that have a house to keep in order.
//!
//! The members in Cargo.toml say which crates there are. The test crates are left out; this
//! program itself is not. A target's root file is what cargo would take: src/lib.rs, src/main.rs,
//! src/bin/*.rs, and the `path` of each `[lib]` and `[[bin]]`.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::tree::{Tree, folder, join};

/// Members that hold only tests.
const LEFT_OUT: [&str; 3] = ["tests", "tests/hostile", "tests/fuzz"];

/// One member of the workspace.
pub(crate) struct Package {
    /// The folder of its Cargo.toml.
    pub(crate) dir: String,
    /// The root file of each target.
    pub(crate) roots: BTreeSet<String>,
}

/// The members of the workspace, without the test crates.
pub(crate) fn of(tree: &Tree) -> Result<Vec<Package>> {
    let workspace = manifest(tree, "")?;
    let members = workspace.get("workspace").and_then(|w| w.get("members"));
    let members = members.and_then(Value::as_array).context("Cargo.toml has no members")?;
    let dirs = members.iter().filter_map(Value::as_str).filter(|dir| !LEFT_OUT.contains(dir));
    dirs.map(|dir| Ok(Package { dir: dir.to_owned(), roots: roots(tree, dir)? })).collect()
}

fn roots(tree: &Tree, dir: &str) -> Result<BTreeSet<String>> {
    let manifest = manifest(tree, dir)?;
    let bins = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
    let named = manifest.get("lib").into_iter().chain(bins);
    let named = named.filter_map(|target| target.get("path")).filter_map(Value::as_str);
    let named = named.filter_map(|path| join(dir, path));
    let usual = ["src/lib.rs", "src/main.rs"].map(|path| format!("{dir}/{path}"));
    let bin_folder = format!("{dir}/src/bin");
    let in_bin_folder = tree.files().filter(|file| folder(file) == bin_folder);
    let in_bin_folder = in_bin_folder.filter(|file| file.ends_with(".rs")).map(str::to_owned);
    let all = named.chain(usual).chain(in_bin_folder);
    Ok(all.filter(|path| tree.is_file(path)).collect())
}

fn manifest(tree: &Tree, dir: &str) -> Result<Table> {
    let path = join(dir, "Cargo.toml").context("Cargo.toml")?;
    tree.text(&path)?.parse().context(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn every_member_but_the_test_crates_is_found_with_its_targets() {
        let (_dir, tree) = made_up(&[
            ("Cargo.toml", "[workspace]\nmembers = ['a', 'tests', 'tests/hostile']"),
            ("a/Cargo.toml", "[[bin]]\nname = 'x'\npath = 'src/x/main.rs'"),
            ("a/src/lib.rs", ""),
            ("a/src/x/main.rs", ""),
            ("a/src/bin/y.rs", ""),
        ]);
        let packages = of(&tree).unwrap();
        assert_eq!(packages.len(), 1);
        let roots: Vec<_> = packages[0].roots.iter().map(String::as_str).collect();
        assert_eq!(roots, ["a/src/bin/y.rs", "a/src/lib.rs", "a/src/x/main.rs"]);
    }
}
