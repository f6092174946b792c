//! A YAML value that remembers its file and line.
//!
//! `keys` and `load` give it a meaning. The place survives `extends` and `recipe`, so every message
//! can name it.

use std::collections::BTreeSet;
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
        let mut text = Deepened::new(text);
        loop {
            let error = match documents(&text.text()) {
                Ok(documents) => return source.only(&documents),
                Err(error) => error,
            };
            if !text.deepen(&error) {
                let place = source.place(error.marker().line());
                return Err(place.error(format_args!("not YAML: {}", error.info())));
            }
        }
    }
}

fn documents(text: &str) -> Result<Vec<MarkedYaml<'_>>, ScanError> {
    let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
    // A scalar stays as it was written: an id such as 00000001 is no number.
    loader.early_parse(false);
    Parser::new_from_str(text).load(&mut loader, true)?;
    match loader.error() {
        Some(error) => Err(error.clone()),
        None => Ok(loader.into_documents()),
    }
}

/// Most lines that get more blanks.
const MOST_DEEPENED: usize = 500;

/// A text whose lines within brackets and quotes begin as far right as YAML wants them.
///
/// YAML asks for blanks before such a line, and Go's parser does not. They mean nothing there. So a
/// line that the parser complains about gets them, and the parser tries again.
struct Deepened<'a> {
    lines: Vec<&'a str>,
    /// Numbers of the lines that got more blanks, from 0.
    deeper: BTreeSet<usize>,
    /// More blanks than any line has.
    blanks: String,
}

impl<'a> Deepened<'a> {
    fn new(text: &'a str) -> Self {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let indent = |line: &&str| line.len() - line.trim_start_matches(' ').len();
        let most = lines.iter().map(indent).max().unwrap_or(0);
        Self { lines, deeper: BTreeSet::new(), blanks: " ".repeat(most + 1) }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (number, line) in self.lines.iter().enumerate() {
            if self.deeper.contains(&number) {
                text.push_str(&self.blanks);
            }
            text.push_str(line);
        }
        text
    }

    /// Gives a line more blanks if the error asks for them.
    fn deepen(&mut self, error: &ScanError) -> bool {
        let line = error.marker().line().saturating_sub(1);
        let next = match error.info() {
            "invalid indentation" | "invalid indentation in flow construct" => Some(line),
            // The error names the line in which the quote begins.
            "invalid indentation in quoted scalar" => (line + 1..self.lines.len())
                .find(|at| !self.deeper.contains(at) && !self.lines[*at].trim().is_empty()),
            _ => None,
        };
        let allowed = self.deeper.len() < MOST_DEEPENED;
        allowed && next.is_some_and(|line| self.deeper.insert(line))
    }
}

/// A file, and where the lines of its text come from.
struct Source<'a> {
    file: Arc<Path>,
    lines: &'a [usize],
}

impl Source<'_> {
    fn only(&self, documents: &[MarkedYaml<'_>]) -> Result<Node, RecipeError> {
        match documents {
            [only] => self.convert(only),
            [] => Err(self.place(1).error("the recipe is empty")),
            [_, second, ..] => Err(self
                .place(second.span.start.line())
                .error("a recipe is one YAML document, and here a second one begins")),
        }
    }

    fn place(&self, line: usize) -> Place {
        let written = self.lines.get(line.saturating_sub(1)).copied();
        Place { file: self.file.clone(), line: written.unwrap_or(line) }
    }

    fn convert(&self, yaml: &MarkedYaml<'_>) -> Result<Node, RecipeError> {
        let place = self.place(yaml.span.start.line());
        let value = match &yaml.data {
            YamlData::Representation(text, style, None) => plain(text, *style),
            YamlData::Representation(text, _, Some(tag))
                if tag.is_yaml_core_schema() && tag.suffix == "str" =>
            {
                Value::Text(text.clone().into_owned())
            }
            YamlData::Value(Scalar::Null) => Value::Null,
            YamlData::Sequence(items) => {
                Value::List(items.iter().map(|item| self.convert(item)).collect::<Result<_, _>>()?)
            }
            YamlData::Mapping(entries) => Value::Map(self.mapping(entries)?),
            YamlData::Tagged(..) | YamlData::Representation(_, _, Some(_)) => {
                return Err(
                    place.error("YAML tags (`!…`) mean nothing in a recipe, except `!!str`")
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
                let mappings = match value.value {
                    Value::List(items) => items.into_iter().map(|item| item.value).collect(),
                    other => vec![other],
                };
                for mapping in mappings {
                    match mapping {
                        Value::Map(entries) => merged.extend(entries),
                        _ => return Err(value.place.error("`<<` needs mappings")),
                    }
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
