//! The keys of one mapping.
//!
//! The actions read them. Unknown keys are refused before any key is read. A slip in a key's name
//! is therefore not reported as a missing key.

use std::collections::BTreeMap;

use crate::recipe::yaml::error::RecipeError;
use crate::recipe::yaml::fields::{Field, Kind};
use crate::recipe::yaml::node::{Key, Node, Place, Value};

/// What a person is told about a recipe that is read, and how strict the reader is.
#[derive(Default, Debug)]
pub(in crate::recipe) struct Notes {
    /// True makes a warning of each unknown key.
    pub(in crate::recipe) lenient: bool,
    /// The warnings, each with its place.
    pub(in crate::recipe) warnings: Vec<String>,
}

impl Notes {
    /// Adds a warning at a place.
    pub(in crate::recipe) fn warn(&mut self, place: &Place, message: impl std::fmt::Display) {
        self.warnings.push(place.error(message).0);
    }
}

/// A mapping whose keys are all known.
#[derive(Clone, Debug)]
pub(in crate::recipe) struct Keys {
    /// The name of the mapping in messages, for instance "the apt action".
    pub(in crate::recipe) what: String,
    /// The place where the mapping starts.
    pub(in crate::recipe) place: Place,
    entries: Vec<(Key, Node)>,
    /// Keys without a value.
    empty: Vec<String>,
}

impl Keys {
    /// Takes a mapping apart. `what` is its name in messages.
    ///
    /// # Errors
    /// `node` is not a mapping, or has a key that is not in `fields`. The message names the key,
    /// its line and the key that was probably meant.
    pub(in crate::recipe) fn new(
        what: impl Into<String>,
        node: Node,
        fields: &[Field],
        notes: &mut Notes,
    ) -> Result<Self, RecipeError> {
        let what = what.into();
        let Value::Map(mut entries) = node.value else {
            let kind = node.value.kind();
            return Err(node
                .place
                .error(format_args!("{what} must be a mapping (`key: value`), not {kind}")));
        };
        let used = |field: &&Field| !matches!(field.kind, Kind::Unused);
        let known: Vec<&str> = fields.iter().filter(used).map(|field| field.name).collect();
        for (key, _) in &entries {
            let name = &key.name;
            let message = match fields.iter().find(|field| field.name == *name) {
                Some(field) if used(&field) => continue,
                Some(field) => format!("`{name}` changes nothing in {what}: {}", field.about),
                None => {
                    let hint = match closest(name, &known) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("known keys: {}", known.join(", ")),
                    };
                    let message = format!("unknown key `{name}` in {what}; {hint}");
                    if !notes.lenient {
                        return Err(key.place.error(message));
                    }
                    message + " The key is passed over"
                }
            };
            notes.warn(&key.place, message);
        }
        entries.retain(|(key, _)| known.contains(&key.name.as_str()));
        let (empty, entries): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, node)| matches!(node.value, Value::Null));
        let empty = empty.into_iter().map(|(key, _)| key.name).collect();
        Ok(Self { what, place: node.place, entries, empty })
    }

    /// Whether a key is there and has no value.
    pub(in crate::recipe) fn is_empty(&self, name: &str) -> bool {
        self.empty.iter().any(|key| key == name)
    }

    /// Takes the value of a key.
    pub(in crate::recipe) fn take(&mut self, name: &'static str) -> Option<Node> {
        let index = self.entries.iter().position(|(key, _)| key.name == name)?;
        Some(self.entries.remove(index).1)
    }

    /// Takes a text with its place.
    pub(in crate::recipe) fn text_at(
        &mut self,
        name: &'static str,
    ) -> Result<Option<(String, Place)>, RecipeError> {
        match self.take(name) {
            None => Ok(None),
            Some(Node { place, value: Value::Text(text) | Value::Word(text) }) => {
                Ok(Some((text, place)))
            }
            Some(node) => Err(self.wrong(name, "text", &node)),
        }
    }

    /// Takes a text.
    pub(in crate::recipe) fn text(
        &mut self,
        name: &'static str,
    ) -> Result<Option<String>, RecipeError> {
        Ok(self.text_at(name)?.map(|(text, _)| text))
    }

    /// Takes a text that must be there and is not empty.
    pub(in crate::recipe) fn required(
        &mut self,
        name: &'static str,
    ) -> Result<(String, Place), RecipeError> {
        let found = self.text_at(name)?.filter(|(text, _)| !text.is_empty());
        found.ok_or_else(|| self.place.error(format_args!("{} needs the key `{name}`", self.what)))
    }

    /// Takes `true` or `false`.
    pub(in crate::recipe) fn flag(
        &mut self,
        name: &'static str,
    ) -> Result<Option<bool>, RecipeError> {
        match self.take(name) {
            None => Ok(None),
            Some(node) => match &node.value {
                // The words of YAML 1.1, which debos's parser knows.
                Value::Word(word) => match word.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" | "y" => Ok(Some(true)),
                    "false" | "no" | "off" | "n" => Ok(Some(false)),
                    _ => Err(self.wrong(name, "true or false", &node)),
                },
                _ => Err(self.wrong(name, "true or false", &node)),
            },
        }
    }

    /// Takes a list of texts, each with its place. An empty value is an empty list.
    pub(in crate::recipe) fn list(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<(String, Place)>>, RecipeError> {
        let items = match self.take(name) {
            None => return Ok(None),
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => return Err(self.wrong(name, "a list (`- a`)", &node)),
        };
        let mut list = Vec::new();
        for item in items {
            match item.value {
                Value::Text(text) | Value::Word(text) => list.push((text, item.place)),
                _ => return Err(self.wrong(name, "a list of texts", &item)),
            }
        }
        Ok(Some(list))
    }

    /// Takes a list of texts without their places.
    pub(in crate::recipe) fn texts(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<String>>, RecipeError> {
        Ok(self.list(name)?.map(|list| list.into_iter().map(|(text, _)| text).collect()))
    }

    /// Takes a list of mappings or other values.
    pub(in crate::recipe) fn nodes(
        &mut self,
        name: &'static str,
    ) -> Result<Vec<Node>, RecipeError> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Node { value: Value::List(items), .. }) => Ok(items),
            Some(node) => Err(self.wrong(name, "a list (`- a`)", &node)),
        }
    }

    /// Takes a mapping of texts.
    pub(in crate::recipe) fn pairs(
        &mut self,
        name: &'static str,
    ) -> Result<BTreeMap<String, String>, RecipeError> {
        let entries = match self.take(name) {
            None => return Ok(BTreeMap::new()),
            Some(Node { value: Value::Map(entries), .. }) => entries,
            Some(node) => return Err(self.wrong(name, "a mapping (`key: value`)", &node)),
        };
        let pair = |(key, node): (Key, Node)| match node.value {
            Value::Text(text) | Value::Word(text) => Ok((key.name, text)),
            Value::Null => Ok((key.name, String::new())),
            _ => Err(self.wrong(name, "a mapping of texts", &node)),
        };
        entries.into_iter().map(pair).collect()
    }

    /// Takes one of some words.
    pub(in crate::recipe) fn word(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, RecipeError> {
        let Some((text, place)) = self.text_at(name)? else { return Ok(None) };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Some(word)),
            None => {
                let hint = closest(&text, words).map(|meant| format!("; did you mean `{meant}`?"));
                let known = || format!("; known: {}", words.join(", "));
                Err(place.error(format_args!(
                    "`{name}: {text}` of {} is not known{}",
                    self.what,
                    hint.unwrap_or_else(known)
                )))
            }
        }
    }

    /// Takes a list of some words.
    pub(in crate::recipe) fn words(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<Vec<&'static str>>, RecipeError> {
        let list = self.words_at(name, words)?;
        Ok(list.map(|list| list.into_iter().map(|(word, _)| word).collect()))
    }

    /// Takes a list of some words, each with its place.
    pub(in crate::recipe) fn words_at(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<Vec<(&'static str, Place)>>, RecipeError> {
        let known = |(text, place): (String, Place)| {
            let word = words.iter().find(|word| **word == text).copied();
            word.map(|word| (word, place.clone())).ok_or_else(|| {
                let hint = match closest(&text, words) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known: {}", words.join(", ")),
                };
                place.error(format_args!("`{name}` has the unknown `{text}`; {hint}"))
            })
        };
        self.list(name)?.map(|list| list.into_iter().map(known).collect()).transpose()
    }

    /// Takes a size in bytes: `64M`, `1G`, `512K` (powers of 1024), or a plain number of bytes.
    pub(in crate::recipe) fn size(
        &mut self,
        name: &'static str,
    ) -> Result<Option<u64>, RecipeError> {
        Ok(self.size_at(name)?.map(|(size, _)| size))
    }

    /// Takes a size with its place.
    pub(in crate::recipe) fn size_at(
        &mut self,
        name: &'static str,
    ) -> Result<Option<(u64, Place)>, RecipeError> {
        let Some((text, place)) = self.text_at(name)? else { return Ok(None) };
        let wrong = || {
            place.error(format_args!(
                "`{name}: {text}` is not a size; write bytes, or 64M, 1G, 512K"
            ))
        };
        let (digits, unit) = match text.strip_suffix(['K', 'M', 'G']) {
            Some(digits) => (
                digits,
                1u64 << (if text.ends_with('K') {
                    10
                } else if text.ends_with('M') {
                    20
                } else {
                    30
                }),
            ),
            None => (text.as_str(), 1),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let size = number.checked_mul(unit).ok_or_else(wrong)?;
        Ok(Some((size, place)))
    }

    fn wrong(&self, name: &str, wanted: &str, node: &Node) -> RecipeError {
        node.place.error(format_args!(
            "`{name}` of {} must be {wanted}, not {}",
            self.what,
            node.value.kind()
        ))
    }
}

/// Returns the candidate with the fewest changed letters, if these are few enough for a slip.
#[must_use]
pub(in crate::recipe) fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let slips = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(changes, _)| *changes <= slips)
        .min()
        .map(|(_, candidate)| candidate)
}
