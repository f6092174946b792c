//! What comes of a template: a text, or an error with its line.

use std::fmt;

/// What a template gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::recipe) struct Rendered {
    /// The text.
    pub(in crate::recipe) text: String,
    /// For each line of the text, its line in the template, from 1.
    pub(in crate::recipe) lines: Vec<usize>,
    /// Variables that nobody gave and that are in the text as `<no value>`, each with its line.
    pub(in crate::recipe) missing: Vec<(String, usize)>,
    /// What was taken from the environment of the build host, each with its line.
    pub(in crate::recipe) asked: Vec<(String, usize)>,
}

/// Why a template gives nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::recipe) struct TemplateError {
    /// Line of the template, from 1.
    pub(in crate::recipe) line: usize,
    /// What is wrong.
    pub(in crate::recipe) message: String,
}

impl TemplateError {
    pub(super) fn new(line: usize, message: impl fmt::Display) -> Self {
        Self { line, message: message.to_string() }
    }
}
