//! The description of a key: its name, what it holds, and what it is for.
//!
//! The tables of the actions are made of it. `Keys` refuses what is not in a table, and `schema`
//! writes the tables for editors, so both know the same keys.

/// The keys of one kind of mapping.
#[derive(Clone, Copy, Debug)]
pub(in crate::recipe) struct Table {
    /// The name of the action.
    pub(in crate::recipe) name: &'static str,
    /// What it does, in one sentence.
    pub(in crate::recipe) about: &'static str,
    /// Its keys, without `action` and `description`.
    pub(in crate::recipe) fields: &'static [Field],
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(in crate::recipe) struct Field {
    /// The key.
    pub(in crate::recipe) name: &'static str,
    /// What it holds.
    pub(in crate::recipe) kind: Kind,
    /// Whether it must be there.
    pub(in crate::recipe) required: bool,
    /// What it is for, in one sentence.
    pub(in crate::recipe) about: &'static str,
}

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::recipe) enum Kind {
    /// A text or a number.
    Text,
    /// One of some words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A list of texts.
    Texts,
    /// A list of some words.
    Words(&'static [&'static str]),
    /// A mapping of texts.
    Pairs,
    /// A list of mappings.
    Mappings(&'static [Field]),
    /// Anything. debos passes over the key, public recipes have it, and it can change nothing.
    Unused,
}

impl Field {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, required: false, about }
    }

    pub(in crate::recipe) const fn text(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Text, about)
    }

    pub(in crate::recipe) const fn word(
        name: &'static str,
        words: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        Self::new(name, Kind::Word(words), about)
    }

    pub(in crate::recipe) const fn flag(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Flag, about)
    }

    pub(in crate::recipe) const fn texts(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Texts, about)
    }

    pub(in crate::recipe) const fn words(
        name: &'static str,
        words: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        Self::new(name, Kind::Words(words), about)
    }

    pub(in crate::recipe) const fn pairs(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Pairs, about)
    }

    pub(in crate::recipe) const fn mappings(
        name: &'static str,
        fields: &'static [Field],
        about: &'static str,
    ) -> Self {
        Self::new(name, Kind::Mappings(fields), about)
    }

    /// A key that is a warning. `about` says why it changes nothing.
    pub(in crate::recipe) const fn unused(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Unused, about)
    }

    /// The same key, which must be there.
    pub(in crate::recipe) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// Returns the keys of an action with those that every action may have.
pub(in crate::recipe) fn with_description(fields: &[Field]) -> Vec<Field> {
    let mut all = fields.to_vec();
    all.push(Field::text("description", "What the action is for, in a person's words."));
    if !fields.iter().any(|field| field.name == "label") {
        all.push(Field::unused("label", "only a run action shows it"));
    }
    all
}
