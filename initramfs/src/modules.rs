//! Which kernel modules go in: the wanted ones, and everything that those need.
//!
//! `wanted` has the names, and the bundler reads the files. The formats are those of `depmod.d(5)`
//! and `modules.dep(5)`.

use std::collections::{BTreeMap, BTreeSet};

/// What `depmod` knows of a kernel's modules.
#[derive(Clone, Default, Debug)]
pub struct ModuleTree {
    modules: BTreeMap<String, Known>,
    builtin: BTreeSet<String>,
}

#[derive(Clone, Default, Debug)]
struct Known {
    path: String,
    /// Names of the modules that it needs, in the order of loading.
    deps: Vec<String>,
    aliases: Vec<String>,
    /// Names or aliases of modules that should be there too, if the kernel has them.
    soft: Vec<String>,
}

/// A module that was picked, in the order in which it can be loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selected {
    /// The module's name as the kernel says it: with `_`.
    pub name: String,
    /// Path of the file relative to `/lib/modules/VERSION`, such as `kernel/fs/ext4/ext4.ko.xz`.
    pub path: String,
    /// Names of the modules to load before it, in that order.
    pub deps: Vec<String>,
    /// Patterns of the devices that the module drives.
    pub aliases: Vec<String>,
}

/// Why modules cannot be selected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectError {
    /// The kernel has no such module.
    #[error(
        "selecting kernel modules: this kernel has no {0}, neither as a module nor built in; \
            correct its name"
    )]
    Unknown(String),
    /// `modules.dep` names a dependency that it does not list.
    #[error(
        "selecting kernel modules: {module} needs {dependency}, which modules.dep lacks; run \
            depmod again"
    )]
    Broken {
        /// The module.
        module: String,
        /// What is missing.
        dependency: String,
    },
}

impl ModuleTree {
    /// Reads the text of the four files; `softdep` may be empty.
    #[must_use]
    pub fn parse(dep: &str, alias: &str, builtin: &str, softdep: &str) -> Self {
        let mut modules: BTreeMap<String, Known> = BTreeMap::new();
        for line in dep.lines() {
            let Some((path, deps)) = line.split_once(':') else { continue };
            // depmod lists the needed modules from the nearest to the farthest. Loading goes the
            // other way.
            let deps = deps.split_whitespace().rev().map(name_of_path).collect();
            modules.insert(
                name_of_path(path),
                Known { path: path.to_owned(), deps, ..Known::default() },
            );
        }
        for line in alias.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(pattern), Some(name)) =
                (words.next(), words.next(), words.next())
                && let Some(known) = modules.get_mut(&normal(name))
            {
                known.aliases.push(pattern.to_owned());
            }
        }
        for line in softdep.lines() {
            let mut words = line.split_whitespace();
            if let (Some("softdep"), Some(name)) = (words.next(), words.next())
                && let Some(known) = modules.get_mut(&normal(name))
            {
                known.soft.extend(
                    words.filter(|word| !matches!(*word, "pre:" | "post:")).map(str::to_owned),
                );
            }
        }
        Self { modules, builtin: builtin.lines().map(name_of_path).collect() }
    }

    /// Returns true if this kernel has the module, loadable or built in.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let name = normal(name);
        self.modules.contains_key(&name) || self.builtin.contains(&name)
    }

    /// Returns the names of all modules, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }
}

/// Returns the wanted modules and all that they need, each once. Each module comes after its
/// dependencies.
///
/// `-` and `_` are the same in a name. A module that is built into the kernel is skipped. A soft
/// dependency comes along if this kernel has it.
pub fn select(tree: &ModuleTree, wanted: &[&str]) -> Result<Vec<Selected>, SelectError> {
    let mut selection = Selection { tree, seen: BTreeSet::new(), order: Vec::new() };
    for name in wanted {
        let name = normal(name);
        if !tree.modules.contains_key(&name) {
            if tree.builtin.contains(&name) {
                continue;
            }
            return Err(SelectError::Unknown(name));
        }
        selection.add(&name)?;
    }
    Ok(selection.order)
}

struct Selection<'a> {
    tree: &'a ModuleTree,
    seen: BTreeSet<&'a str>,
    order: Vec<Selected>,
}

impl<'a> Selection<'a> {
    fn add(&mut self, name: &str) -> Result<(), SelectError> {
        let Some((name, known)) = self.tree.modules.get_key_value(name) else { return Ok(()) };
        if !self.seen.insert(name) {
            return Ok(());
        }
        for soft in known.soft.iter().flat_map(|soft| self.tree.resolve(soft)) {
            self.add(soft)?;
        }
        for dependency in &known.deps {
            if !self.tree.modules.contains_key(dependency) {
                return Err(SelectError::Broken {
                    module: name.clone(),
                    dependency: dependency.clone(),
                });
            }
            self.add(dependency)?;
        }
        let Known { path, deps, aliases, .. } = known.clone();
        self.order.push(Selected { name: name.clone(), path, deps, aliases });
        Ok(())
    }
}

impl ModuleTree {
    /// Returns the modules that a soft dependency means. It is the module of that name, or else
    /// each module that has it as an alias.
    fn resolve(&self, soft: &str) -> Vec<&str> {
        if let Some((name, _)) = self.modules.get_key_value(&normal(soft)) {
            return vec![name];
        }
        let has = |known: &Known| known.aliases.iter().any(|alias| alias == soft);
        self.modules.iter().filter(|(_, known)| has(known)).map(|(name, _)| name.as_str()).collect()
    }
}

/// Turns `kernel/fs/nls/nls_iso8859-1.ko.xz` into `nls_iso8859_1`.
#[must_use]
pub fn name_of_path(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split_once(".ko").map_or(file, |(stem, _)| stem))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns true if a device's `modalias` matches a pattern of `modules.alias`. The rules are those
/// of `fnmatch(3)` without flags: `*`, `?` and `[…]` with ranges and `!`.
#[must_use]
pub fn alias_matches(pattern: &str, modalias: &str) -> bool {
    glob(pattern.as_bytes(), modalias.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last star, which then takes one more byte.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            None => None,
            Some(_) => text.get(t).and_then(|byte| one(&pattern[p..], *byte)),
        };
        match (step, retry) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after_star, from))) if from < text.len() => {
                retry = Some((after_star, from + 1));
                (p, t) = (after_star, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Returns how many bytes of the pattern match this one byte of text; `None` if none do.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((true, length)) => Some(length + 1),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(1), // it is never closed: an ordinary bracket
        },
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Reads what follows `[`. Returns true if the byte is in the set, and the set's length with its
/// closing bracket.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let mut at = start;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > start {
            return Some((found != negated, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                found |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
}
