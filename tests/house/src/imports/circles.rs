//! The check that no files of a crate import each other in a circle.
//!
//! An arrow goes from a file to each file that defines a name that the first one mentions. A
//! lib.rs or mod.rs that only declares and re-exports has no arrows.

use std::collections::{BTreeMap, BTreeSet};

use super::module::Target;
use super::resolve::definitions;
use crate::violation::{Check, Violation};

/// The names that one file takes from another, and the first line that mentions one.
#[derive(Default)]
struct Arrow {
    names: BTreeSet<String>,
    line: usize,
}

/// From file to file.
type Arrows = BTreeMap<String, BTreeMap<String, Arrow>>;

const REMEDY: &str = "move what they need from each other into a file below them, or join them";

/// One violation for each set of files that reach each other.
pub(crate) fn check(targets: &[Target]) -> Vec<Violation> {
    let arrows = arrows(targets);
    circles(&arrows).iter().map(|circle| violation(circle, &arrows)).collect()
}

fn arrows(targets: &[Target]) -> Arrows {
    let mut arrows = Arrows::new();
    for target in targets {
        for mention in target.mentions.iter().filter(|mention| target.counts(mention)) {
            let from = &target.modules[mention.module].file;
            for (module, name) in definitions(target, mention.module, &mention.path) {
                let to = &target.modules[module].file;
                if to == from {
                    continue;
                }
                let of_file = arrows.entry(from.clone()).or_default();
                let arrow = of_file.entry(to.clone()).or_default();
                arrow.names.insert(name.to_owned());
                arrow.line =
                    if arrow.line == 0 { mention.line } else { arrow.line.min(mention.line) };
            }
        }
    }
    arrows
}

/// Each set of more than one file of which every file reaches every other.
fn circles(arrows: &Arrows) -> Vec<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|file| (file.as_str(), reach(arrows, file))).collect();
    let mut circles: Vec<BTreeSet<&str>> = Vec::new();
    for (&file, to) in &reached {
        if to.contains(file) && !circles.iter().any(|circle| circle.contains(file)) {
            let back = |other: &&str| reached.get(other).is_some_and(|to| to.contains(file));
            circles.push(to.iter().copied().filter(back).collect());
        }
    }
    circles
}

/// Every file that `file` reaches along one arrow or more.
fn reach<'a>(arrows: &'a Arrows, file: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut todo = vec![file];
    while let Some(file) = todo.pop() {
        for to in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(to.as_str()) {
                todo.push(to);
            }
        }
    }
    reached
}

fn violation(circle: &BTreeSet<&str>, arrows: &Arrows) -> Violation {
    let inside = |file: &str| circle.contains(file);
    let mut details = Vec::new();
    let mut first = None;
    for (from, to) in arrows.iter().filter(|(from, _)| inside(from)) {
        for (to, arrow) in to.iter().filter(|(to, _)| inside(to)) {
            let names: Vec<_> = arrow.names.iter().map(String::as_str).collect();
            details.push(format!("{from}:{} -> {to}: {}", arrow.line, names.join(", ")));
            first.get_or_insert((from.clone(), arrow.line));
        }
    }
    let (path, line) = first.unwrap_or_default();
    let what = format!("{} files import each other in a circle", circle.len());
    Violation { check: Check::Circles, path, line, what, remedy: REMEDY, details }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crates;
    use crate::imports::walk;
    use crate::tree::made_up;

    /// The violations of a crate `a` with these files below a/src.
    fn checked(files: &[(&str, &str)]) -> Vec<Violation> {
        let files: Vec<_> = files.iter().map(|(p, text)| (format!("a/src/{p}"), *text)).collect();
        let mut all = vec![("Cargo.toml", "[workspace]\nmembers = ['a']"), ("a/Cargo.toml", "")];
        all.extend(files.iter().map(|(path, text)| (path.as_str(), *text)));
        let (_dir, tree) = made_up(&all);
        let packages = crates::of(&tree).unwrap();
        check(&walk::targets(&tree, &packages[0]).unwrap())
    }

    #[test]
    fn a_new_circle_between_two_files_is_named_with_what_ties_it() {
        let found = checked(&[
            ("lib.rs", "mod x; mod y; mod z;"),
            ("x.rs", "use crate::y::Cup;\npub struct Tea(Cup, super::z::Pot);"),
            ("y.rs", "\nuse crate::x;\npub struct Cup; fn f() { vec![x::Tea]; }"),
            ("z.rs", "pub struct Pot;"),
        ]);
        assert_eq!(found.len(), 1);
        let text = found[0].to_string();
        assert!(text.starts_with("a/src/x.rs:1: 2 files import each other in a circle; "));
        let arrows = ["a/src/x.rs:1 -> a/src/y.rs: Cup", "a/src/y.rs:3 -> a/src/x.rs: Tea"];
        assert_eq!(found[0].details, arrows);
    }

    #[test]
    fn a_circle_through_reexports_and_globs_is_found() {
        let found = checked(&[
            ("lib.rs", "mod room; mod x; pub use room::Deep;"),
            ("room/mod.rs", "mod deep; pub(crate) use deep::*;"),
            ("room/deep.rs", "pub struct Deep; fn f() { crate::x::g(); }"),
            ("x.rs", "use super::*; pub fn g() -> Deep { Deep }"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].details.contains(&"a/src/x.rs:1 -> a/src/room/deep.rs: Deep".to_owned()));
    }

    #[test]
    fn a_mod_rs_that_only_reexports_makes_no_circle_and_one_with_code_does() {
        let deep = ("room/deep.rs", "pub struct Deep(super::Other);");
        let other = ("room/other.rs", "pub struct Other;");
        let declares = "mod deep; mod other; pub use deep::Deep; use other::Other;";
        let lib = ("lib.rs", "mod room;");
        assert!(checked(&[lib, ("room/mod.rs", declares), deep, other]).is_empty());
        let code = "mod deep; pub use deep::Deep; pub struct Other; fn f(_: Deep) {}";
        assert_eq!(checked(&[lib, ("room/mod.rs", code), deep]).len(), 1);
        let apart = "mod deep; pub use deep::Deep; pub struct Other;";
        assert!(checked(&[lib, ("room/mod.rs", apart), deep]).is_empty());
    }

    #[test]
    fn what_only_tests_import_makes_no_circle() {
        let x = "pub struct X; #[cfg(test)] mod tests { use crate::y::Y; }";
        let found = checked(&[
            ("lib.rs", "mod x; mod y;"),
            ("x.rs", x),
            ("y.rs", "pub struct Y(crate::x::X);"),
        ]);
        assert!(found.is_empty());
    }
}
