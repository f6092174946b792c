//! The keys of one mapping.
//!
//! `assemble` reads them. Unknown keys are refused before any key is read. A slip in a key's name
//! is therefore not reported as a missing key.

use crate::recipe::error::RecipeError;
use crate::recipe::node::{Key, Node, Place, Value};

/// A mapping whose keys are all known.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The name of the mapping in messages, for instance "the apt action".
    what: String,
    /// The place where the mapping starts.
    pub(super) place: Place,
    entries: Vec<(Key, Node)>,
}

impl Keys {
    /// Takes a mapping apart. `what` is its name in messages.
    ///
    /// # Errors
    /// `node` is not a mapping, or has a key that is not `known`. The message names the key, its
    /// line and the key that was probably meant.
    pub(super) fn new(
        what: impl Into<String>,
        node: Node,
        known: &[&str],
    ) -> Result<Self, RecipeError> {
        let what = what.into();
        let Value::Map(entries) = node.value else {
            let kind = node.value.kind();
            return Err(node
                .place
                .error(format_args!("{what} must be a mapping (`key: value`), not {kind}")));
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !known.contains(&key.name.as_str()))
        {
            let hint = match closest(&key.name, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            return Err(key
                .place
                .error(format_args!("unknown key `{}` in {what}; {hint}", key.name)));
        }
        Ok(Self { what, place: node.place, entries })
    }

    /// Takes the value of a key.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Node> {
        let index = self.entries.iter().position(|(key, _)| key.name == name)?;
        Some(self.entries.remove(index).1)
    }

    /// Takes a text with its place.
    pub(super) fn text_at(
        &mut self,
        name: &'static str,
    ) -> Result<Option<(String, Place)>, RecipeError> {
        match self.take(name) {
            None => Ok(None),
            Some(Node { place, value: Value::Text(text) }) => Ok(Some((text, place))),
            Some(node) => Err(self.wrong(name, "text", &node)),
        }
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, RecipeError> {
        Ok(self.text_at(name)?.map(|(text, _)| text))
    }

    /// Takes a text that must be there.
    pub(super) fn required(&mut self, name: &'static str) -> Result<(String, Place), RecipeError> {
        let found = self.text_at(name)?;
        found.ok_or_else(|| self.place.error(format_args!("{} needs the key `{name}`", self.what)))
    }

    /// Takes `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, RecipeError> {
        match self.take(name) {
            None => Ok(None),
            Some(Node { value: Value::Flag(flag), .. }) => Ok(Some(flag)),
            Some(node) => Err(self.wrong(name, "true or false", &node)),
        }
    }

    /// Takes a list of texts, each with its place. An empty value is an empty list.
    pub(super) fn list(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<(String, Place)>>, RecipeError> {
        let items = match self.take(name) {
            None => return Ok(None),
            Some(Node { value: Value::Null, .. }) => return Ok(Some(Vec::new())),
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => return Err(self.wrong(name, "a list (`- a`)", &node)),
        };
        let mut list = Vec::new();
        for item in items {
            match item.value {
                Value::Text(text) => list.push((text, item.place)),
                _ => return Err(self.wrong(name, "a list of texts", &item)),
            }
        }
        Ok(Some(list))
    }

    /// Takes a list of texts without their places.
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, RecipeError> {
        Ok(self.list(name)?.map(|list| list.into_iter().map(|(text, _)| text).collect()))
    }

    /// Takes a size in bytes: `64M`, `1G`, `512K` (powers of 1024), or a plain number of bytes.
    pub(super) fn size(&mut self, name: &'static str) -> Result<Option<u64>, RecipeError> {
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
        number.checked_mul(unit).map(Some).ok_or_else(wrong)
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
pub(super) fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let slips = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(changes, _)| *changes <= slips)
        .min()
        .map(|(_, candidate)| candidate)
}
