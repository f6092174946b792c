//! The list of modules inside the initramfs: who needs whom, and which device asks for whom.
//!
//! Loading the modules is left to daruma-init.
//!
//! One line a module, three fields divided by a blank: `name deps aliases`; deps and aliases are
//! divided by commas (an alias may hold commas itself, so those are written as `;`, which no alias
//! holds), `-` stands for none.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::alias_matches;

/// Name of the index, next to the modules.
pub const FILE: &str = "index";

/// What is known of one module.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entry {
    /// Names of the modules to load before it, in that order.
    pub deps: Vec<String>,
    /// Patterns of the devices that it drives.
    pub aliases: Vec<String>,
}

impl Entry {
    /// Whether one of its patterns matches a device's `modalias`.
    #[must_use]
    pub fn matches(&self, modalias: &str) -> bool {
        self.aliases.iter().any(|pattern| alias_matches(pattern, modalias))
    }
}

/// All modules of the initramfs by their names.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Index {
    /// Names are the kernel's: with `_`.
    pub modules: BTreeMap<String, Entry>,
}

impl Index {
    /// The index as text; [`Index::parse`] gives it back.
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

    /// Reads an index; lines without a name are passed over.
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

    /// Names of the modules whose patterns match a device's `modalias`.
    pub fn matching<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a str> {
        self.modules
            .iter()
            .filter(move |(_, entry)| entry.matches(modalias))
            .map(|(name, _)| name.as_str())
    }

    /// `name` and what must be loaded before it, in the order of loading, each once. Empty if it is
    /// not here.
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
