//! A YAML value that remembers its file and line.
//!
//! `keys` and `load` give it a meaning. The place survives `extends` and `recipe`, so every message
//! can name it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use crate::recipe::error::RecipeError;

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
pub(super) struct Node {
    /// The place where the value was written.
    pub(super) place: Place,
    /// The value.
    pub(super) value: Value,
}

/// The part of YAML that recipes use. A number stays as it was written: `1.10` is a version here,
/// not a floating point number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// An empty value, `~` or `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A string or an integer.
    Text(String),
    /// `- a`
    List(Vec<Node>),
    /// `key: value`, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Key {
    /// The text of the key.
    pub(super) name: String,
    /// The place where the key was written.
    pub(super) place: Place,
}

impl Value {
    /// Returns the kind of the value in a person's words.
    #[must_use]
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "true or false",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// Parses the text of one recipe file. `file` is used only for messages and relative paths.
    ///
    /// # Errors
    /// Text that is not YAML, more than one document, a key twice in one mapping, YAML tags, and
    /// the Go templates of debos. The error names Go templates, because the parser's own message
    /// would not help.
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self, RecipeError> {
        let file: Arc<Path> = Arc::from(file);
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("{{") {
                let place = Place { file, line: index + 1 };
                return Err(place.error(
                    "Go templates (`{{ … }}`) are not supported; write the value, or a variant \
                        with `extends`",
                ));
            }
        }
        let mut documents = MarkedYaml::load_from_str(text).map_err(|e| {
            Place { file: file.clone(), line: e.marker().line() }
                .error(format_args!("not YAML: {}", e.info()))
        })?;
        match documents.len() {
            1 => Self::convert(&documents.remove(0), &file),
            0 => Err(Place { file, line: 1 }.error("the recipe is empty")),
            _ => Err(Place { line: documents[1].span.start.line(), file }
                .error("a recipe is one YAML document, and here a second one begins")),
        }
    }

    fn convert(yaml: &MarkedYaml<'_>, file: &Arc<Path>) -> Result<Self, RecipeError> {
        let place = Place { file: file.clone(), line: yaml.span.start.line() };
        let value = match &yaml.data {
            YamlData::Value(scalar) => match scalar {
                Scalar::Null => Value::Null,
                Scalar::Boolean(flag) => Value::Flag(*flag),
                Scalar::Integer(number) => Value::Text(number.to_string()),
                Scalar::String(text) => Value::Text(text.to_string()),
                Scalar::FloatingPoint(_) => {
                    return Err(place.error(
                        "a number with a point: put it in quotes, so that it stays as it is",
                    ));
                }
            },
            YamlData::Sequence(items) => Value::List(
                items.iter().map(|item| Self::convert(item, file)).collect::<Result<_, _>>()?,
            ),
            YamlData::Mapping(entries) => {
                let mut map = Vec::new();
                for (key, value) in entries {
                    let key = Self::convert(key, file)?;
                    let Value::Text(name) = key.value else {
                        return Err(key.place.error("a key must be text"));
                    };
                    map.push((Key { name, place: key.place }, Self::convert(value, file)?));
                }
                Value::Map(map)
            }
            YamlData::Tagged(..) => {
                return Err(
                    place.error("YAML tags (`!…`) mean nothing in a recipe; quote the value")
                );
            }
            YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
                return Err(place.error("a value that cannot be read"));
            }
        };
        Ok(Self { place, value })
    }
}
