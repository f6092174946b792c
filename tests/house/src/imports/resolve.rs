//! Follows a path to the module that defines what the path names.
//!
//! Imports, re-exports and globs are followed on the way. A path that leads out of the crate gives
//! nothing. If a module of the crate does not seem to define a name that a path takes from it (a
//! macro made the name), the module counts as the one that defines it.

use super::module::{Binding, Target};

/// Where a path leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// To a module itself.
    Module(usize),
    /// To something that this module defines.
    Item(usize),
}

/// The (module, name) pairs on the way here. A second visit of one is a circle of imports.
type Way<'a> = Vec<(usize, &'a str)>;

/// The modules that define what `path` names, seen from `module`, each with the name that leads
/// there. A path that names a module gives nothing: whatever is taken from it is another path.
pub(crate) fn definitions<'a>(
    target: &'a Target,
    module: usize,
    path: &'a [String],
) -> Vec<(usize, &'a str)> {
    let found = follow(target, module, path, &mut Vec::new()).into_iter();
    found
        .filter_map(|(found, name)| match found {
            Found::Item(module) => Some((module, name)),
            Found::Module(_) => None,
        })
        .collect()
}

fn follow<'a>(
    target: &'a Target,
    module: usize,
    path: &'a [String],
    way: &mut Way<'a>,
) -> Vec<(Found, &'a str)> {
    let Some((first, rest)) = path.split_first() else { return Vec::new() };
    let start = match first.as_str() {
        "crate" => vec![Found::Module(0)],
        "self" => vec![Found::Module(module)],
        "super" => target.modules[module].parent.map(Found::Module).into_iter().collect(),
        name => look_up(target, module, name, way),
    };
    let mut ends = Vec::new();
    let mut open: Vec<_> = start.into_iter().map(|found| (found, first, rest)).collect();
    while let Some((found, name, rest)) = open.pop() {
        let (Found::Module(here), Some((next, rest))) = (found, rest.split_first()) else {
            ends.push((found, name.as_str()));
            continue;
        };
        let further = match next.as_str() {
            "super" => target.modules[here].parent.map(Found::Module).into_iter().collect(),
            name => look_up(target, here, name, way),
        };
        if further.is_empty() && next != "super" {
            ends.push((Found::Item(here), next));
        }
        open.extend(further.into_iter().map(|found| (found, next, rest)));
    }
    ends
}

/// What `name` stands for in `module`.
fn look_up<'a>(target: &'a Target, module: usize, name: &'a str, way: &mut Way<'a>) -> Vec<Found> {
    if way.contains(&(module, name)) {
        return Vec::new();
    }
    way.push((module, name));
    let mut all = Vec::new();
    if let Some(bindings) = target.modules[module].bindings.get(name) {
        for binding in bindings {
            match binding {
                Binding::Item => all.push(Found::Item(module)),
                Binding::Module(inner) => all.push(Found::Module(*inner)),
                Binding::Import(path) => {
                    all.extend(follow(target, module, path, way).into_iter().map(|(f, _)| f));
                }
            }
        }
    } else {
        for glob in &target.modules[module].globs {
            for (found, _) in follow(target, module, glob, way) {
                if let Found::Module(from) = found {
                    all.extend(look_up(target, from, name, way));
                }
            }
        }
    }
    way.pop();
    all.dedup();
    all
}
