//! Loads all files of a crate, from the root of each target along `mod name;`.
//!
//! What a file holds is read by `scan`. This file knows where cargo and rustc look for a module:
//! `name.rs` or `name/mod.rs`, beside a mod.rs or a root, else below a folder of the parent's name.

use anyhow::{Context, Result};

use super::module::{Binding, Target};
use super::scan::{Child, scan};
use crate::crates::Package;
use crate::tree::{Tree, folder, join};

/// A file to be read as a module, and the folder that its modules lie in.
struct Next {
    module: usize,
    modules_in: String,
}

/// The targets of `package`, with all their modules but those of tests.
pub(crate) fn targets(tree: &Tree, package: &Package) -> Result<Vec<Target>> {
    package.roots.iter().map(|root| target(tree, root)).collect()
}

fn target(tree: &Tree, root: &str) -> Result<Target> {
    let mut target = Target::default();
    let module = target.add(root, None);
    let mut todo = vec![Next { module, modules_in: folder(root).to_owned() }];
    while let Some(Next { module, modules_in }) = todo.pop() {
        let file = target.modules[module].file.clone();
        let parsed = syn::parse_file(&tree.text(&file)?).with_context(|| file.clone())?;
        for child in scan(&mut target, module, &parsed) {
            let (path, modules_in) = find(tree, &file, &modules_in, &child)
                .with_context(|| format!("{file}: no file for mod {}", child.name))?;
            let inner = target.add(&path, Some(child.parent));
            target.bind(child.parent, child.name, Binding::Module(inner));
            todo.push(Next { module: inner, modules_in });
        }
    }
    Ok(target)
}

/// The file of `child`, which `file` declares, and the folder that the child's modules lie in.
fn find(tree: &Tree, file: &str, modules_in: &str, child: &Child) -> Option<(String, String)> {
    let inside = child.inside.join("/");
    if let Some(path) = &child.path {
        let dir = if inside.is_empty() { folder(file) } else { modules_in };
        let path = join(&join(dir, &inside)?, path)?;
        let dir = folder(&path).to_owned();
        return Some((path, dir));
    }
    let own = join(modules_in, &format!("{inside}/{}", child.name))?;
    let places = [format!("{own}.rs"), format!("{own}/mod.rs")];
    let path = places.into_iter().find(|path| tree.is_file(path))?;
    Some((path, own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::made_up;

    #[test]
    fn modules_are_found_where_rustc_looks_and_tests_are_passed_over() {
        let (_dir, tree) = made_up(&[
            ("a/src/lib.rs", "mod b; mod c; mod i { mod d; } #[cfg(test)] mod gone; mod p;"),
            ("a/src/b.rs", "mod e; #[path = \"odd.rs\"] mod f;"),
            ("a/src/b/e.rs", ""),
            ("a/src/odd.rs", ""),
            ("a/src/c/mod.rs", "mod g;"),
            ("a/src/c/g.rs", ""),
            ("a/src/i/d.rs", ""),
            ("a/src/p.rs", ""),
        ]);
        let target = target(&tree, "a/src/lib.rs").unwrap();
        let mut files: Vec<_> = target.modules.iter().map(|m| m.file.clone()).collect();
        files.sort();
        files.dedup();
        let mut all: Vec<_> = tree.files().collect();
        all.sort();
        assert_eq!(files, all);
    }
}
