//! The list of modules inside the initramfs: which modules a module needs, and which devices ask
//! for it.
//!
//! daruma-init loads the modules.
//!
//! One line is one module. It has three fields divided by a blank: `name deps aliases`. Commas
//! divide deps and aliases. An alias may hold commas itself, so those are written as `;`, which no
//! alias holds. `-` stands for none.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::alias_matches;

/// Name of the index file. It lies next to the modules.
pub const FILE: &str = "index";

/// The index's facts about one module.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entry {
    /// Names of the modules to load before it, in that order.
    pub deps: Vec<String>,
    /// Patterns of the devices that the module drives.
    pub aliases: Vec<String>,
}

impl Entry {
    /// Returns true if one of the module's patterns matches a device's `modalias`.
    #[must_use]
    pub fn matches(&self, modalias: &str) -> bool {
        self.aliases.iter().any(|pattern| alias_matches(pattern, modalias))
    }
}

/// All modules of the initramfs by their names.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Index {
    /// The modules by the kernel's names, which have `_`.
    pub modules: BTreeMap<String, Entry>,
}

impl Index {
    /// Returns the index as text; [`Index::parse`] reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, entry) in &self.modules {
            let aliases: Vec<String> =
                entry.aliases.iter().map(|alias| alias.replace(',', ";")).collect();
            text.push_str(&format!("{name} {} {}\n", list(&entry.deps), list(&aliases)));
        }
        text
    }

    /// Reads an index. Skips lines without a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut modules = BTreeMap::new();
        for line in text.lines() {
            let mut fields = line.split(' ');
            let Some(name) = fields.next().filter(|name| !name.is_empty()) else { continue };
            let deps = unlist(fields.next()).map(str::to_owned).collect();
            let aliases = unlist(fields.next()).map(|alias| alias.replace(';', ",")).collect();
            modules.insert(name.to_owned(), Entry { deps, aliases });
        }
        Self { modules }
    }

    /// Returns names of the modules whose patterns match a device's `modalias`.
    pub fn matching<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a str> {
        self.modules
            .iter()
            .filter(move |(_, entry)| entry.matches(modalias))
            .map(|(name, _)| name.as_str())
    }

    /// Returns `name` and the modules that must be loaded before it, in the order of loading, each
    /// once. Returns nothing if the index does not have `name`.
    #[must_use]
    pub fn load_order(&self, name: &str) -> Vec<&str> {
        let mut order = Vec::new();
        self.visit(name, &mut BTreeSet::new(), &mut order);
        order
    }

    fn visit<'a>(&'a self, name: &str, seen: &mut BTreeSet<&'a str>, order: &mut Vec<&'a str>) {
        let Some((name, entry)) = self.modules.get_key_value(name) else { return };
        if !seen.insert(name) {
            return;
        }
        for dependency in &entry.deps {
            self.visit(dependency, seen, order);
        }
        order.push(name);
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

fn unlist(field: Option<&str>) -> impl Iterator<Item = &str> {
    field.filter(|field| *field != "-").into_iter().flat_map(|field| field.split(','))
}
