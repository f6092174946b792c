//! A YAML value that remembers its file and line.
//!
//! `keys` and `load` give it a meaning. The place survives `extends` and `recipe`, so every message
//! can name it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use saphyr::{AnnotatedMapping, MarkedYaml, Scalar, ScalarStyle, ScanError, YamlData, YamlLoader};
use saphyr_parser::Parser;

use crate::recipe::yaml::error::RecipeError;

/// The place where a value was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The recipe file.
    pub file: Arc<Path>,
    /// Line number, from 1.
    pub line: usize,
}

impl Place {
    /// Returns an error at this place. Its text is one line that cannot move a terminal's cursor,
    /// even if it quotes the recipe.
    pub fn error(&self, message: impl fmt::Display) -> RecipeError {
        let plain =
            |c: char| if c.is_control() { c.escape_debug().collect() } else { String::from(c) };
        RecipeError(format!("{self}: {message}").chars().map(plain).collect())
    }

    /// Resolves a path of a recipe. The path is relative to the recipe file, not to the current
    /// folder.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        match self.file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.join(path),
            _ => PathBuf::from(path),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A value and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::recipe) struct Node {
    /// The place where the value was written.
    pub(in crate::recipe) place: Place,
    /// The value.
    pub(in crate::recipe) value: Value,
}

/// The part of YAML that recipes use. A scalar stays as it was written: `1.10` is a version here,
/// not a floating point number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::recipe) enum Value {
    /// An empty value, `~` or `null`.
    Null,
    /// A scalar without quotes: a text, a number, or true or false. Its key decides.
    Word(String),
    /// A scalar in quotes, or over several lines.
    Text(String),
    /// `- a`
    List(Vec<Node>),
    /// `key: value`, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::recipe) struct Key {
    /// The text of the key.
    pub(in crate::recipe) name: String,
    /// The place where the key was written.
    pub(in crate::recipe) place: Place,
}

impl Value {
    /// Returns the kind of the value in a person's words.
    #[must_use]
    pub(in crate::recipe) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Word(word) if word == "true" || word == "false" => "true or false",
            Self::Word(_) | Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// Parses the text of one recipe file. `file` is used only for messages and relative paths.
    /// `lines` gives for each line of the text its line in the file, if a template made the text.
    ///
    /// # Errors
    /// Text that is not YAML, more than one document, a key twice in one mapping, and YAML tags.
    pub(in crate::recipe) fn parse(
        text: &str,
        file: &Path,
        lines: &[usize],
    ) -> Result<Self, RecipeError> {
        let source = Source { file: Arc::from(file), lines };
        let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
        // A scalar stays as it was written: an id such as 00000001 is no number.
        loader.early_parse(false);
        let mut parser = Parser::new_from_str(text);
        let unreadable = |e: &ScanError| {
            source.place(e.marker().line()).error(format_args!("not YAML: {}", e.info()))
        };
        parser.load(&mut loader, true).map_err(|e| unreadable(&e))?;
        if let Some(error) = loader.error() {
            return Err(unreadable(error));
        }
        let documents = loader.into_documents();
        match documents.as_slice() {
            [only] => source.convert(only),
            [] => Err(source.place(1).error("the recipe is empty")),
            [_, second, ..] => Err(source
                .place(second.span.start.line())
                .error("a recipe is one YAML document, and here a second one begins")),
        }
    }
}

/// A file, and where the lines of its text come from.
struct Source<'a> {
    file: Arc<Path>,
    lines: &'a [usize],
}

impl Source<'_> {
    fn place(&self, line: usize) -> Place {
        let written = self.lines.get(line.saturating_sub(1)).copied();
        Place { file: self.file.clone(), line: written.unwrap_or(line) }
    }

    fn convert(&self, yaml: &MarkedYaml<'_>) -> Result<Node, RecipeError> {
        let place = self.place(yaml.span.start.line());
        let value = match &yaml.data {
            YamlData::Representation(text, style, None) => plain(text, *style),
            YamlData::Value(Scalar::Null) => Value::Null,
            YamlData::Sequence(items) => {
                Value::List(items.iter().map(|item| self.convert(item)).collect::<Result<_, _>>()?)
            }
            YamlData::Mapping(entries) => Value::Map(self.mapping(entries)?),
            YamlData::Tagged(..) | YamlData::Representation(_, _, Some(_)) => {
                return Err(
                    place.error("YAML tags (`!…`) mean nothing in a recipe; quote the value")
                );
            }
            YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => {
                return Err(place.error("a value that cannot be read"));
            }
        };
        Ok(Node { place, value })
    }

    fn mapping(
        &self,
        entries: &AnnotatedMapping<'_, MarkedYaml<'_>>,
    ) -> Result<Vec<(Key, Node)>, RecipeError> {
        let mut map: Vec<(Key, Node)> = Vec::new();
        let mut merged = Vec::new();
        for (key, value) in entries {
            let key = self.convert(key)?;
            let (Value::Text(name) | Value::Word(name)) = key.value else {
                return Err(key.place.error("a key must be text"));
            };
            let value = self.convert(value)?;
            if name == "<<" {
                match value.value {
                    Value::Map(entries) => merged.extend(entries),
                    _ => return Err(value.place.error("`<<` needs a mapping")),
                }
                continue;
            }
            if map.iter().any(|(other, _)| other.name == name) {
                return Err(key.place.error(format_args!("not YAML: duplicated key `{name}`")));
            }
            map.push((Key { name, place: key.place }, value));
        }
        for (key, value) in merged {
            if !map.iter().any(|(other, _)| other.name == key.name) {
                map.push((key, value));
            }
        }
        Ok(map)
    }
}

fn plain(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
        (ScalarStyle::Plain, _) => Value::Word(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}
