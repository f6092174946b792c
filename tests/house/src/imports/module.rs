//! The modules of one target: what each one binds, and which paths its code mentions.
//!
//! The scan fills these tables, and the resolver reads them. A module is known by its index in
//! [`Target::modules`]; index 0 is the target's root. Tests are not in the tables.

use std::collections::BTreeMap;

/// A library or a program, as a list of modules.
#[derive(Default)]
pub(crate) struct Target {
    pub(crate) modules: Vec<Module>,
    /// Every path that the code mentions.
    pub(crate) mentions: Vec<Mention>,
    /// File and line of each string literal with a character outside ASCII, and that character.
    pub(crate) non_ascii: Vec<(String, usize, char)>,
}

/// A file, or an inline module of a file.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: String,
    pub(crate) parent: Option<usize>,
    /// A name may be bound more than once: in two name spaces, or under two `cfg`s.
    pub(crate) bindings: BTreeMap<String, Vec<Binding>>,
    /// The paths before the `*` of glob imports.
    pub(crate) globs: Vec<Vec<String>>,
    /// Whether the file declares modules that are files of their own.
    pub(crate) declares_files: bool,
    /// Whether the file holds more than `mod` and `use`.
    pub(crate) holds_code: bool,
}

/// What a name stands for.
pub(crate) enum Binding {
    /// Something that the module itself defines.
    Item,
    /// A child module.
    Module(usize),
    /// Whatever this path leads to.
    Import(Vec<String>),
}

/// A path in the code.
pub(crate) struct Mention {
    pub(crate) module: usize,
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// Whether it is a `pub use` of some kind.
    pub(crate) reexport: bool,
}

impl Target {
    /// Adds an empty module and returns its index.
    pub(crate) fn add(&mut self, file: &str, parent: Option<usize>) -> usize {
        self.modules.push(Module { file: file.to_owned(), parent, ..Module::default() });
        self.modules.len() - 1
    }

    /// Binds `name` in `module`.
    pub(crate) fn bind(&mut self, module: usize, name: String, binding: Binding) {
        self.modules[module].bindings.entry(name).or_default().push(binding);
    }

    /// Whether an arrow that starts at `mention` counts. What a mod.rs re-exports does not: the
    /// arrow of whoever uses the name goes to the file that defines it.
    pub(crate) fn counts(&self, mention: &Mention) -> bool {
        let module = &self.modules[mention.module];
        !module.declares_files || (module.holds_code && !mention.reexport)
    }
}
