//! The tree of a parsed template.
//!
//! `parse` makes it, and `eval` walks it. Each part has the line that it stands in.

use std::collections::BTreeMap;

use crate::recipe::template::value::Value;

/// A parsed file: its own text, and the templates that it defines.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) body: Vec<Part>,
    pub(super) defined: BTreeMap<String, Vec<Part>>,
}

/// One piece of a template.
#[derive(Debug)]
pub(super) enum Part {
    /// Text that is copied. The line is that of its first character.
    Text { text: String, line: usize },
    /// `{{ pipeline }}`: its value is printed, unless the pipeline sets a variable.
    Action(Pipe),
    /// `{{ if }}`. An `else if` is an `If` in `otherwise`.
    If { pipe: Pipe, then: Vec<Part>, otherwise: Vec<Part> },
    /// `{{ with }}`.
    With { pipe: Pipe, then: Vec<Part>, otherwise: Vec<Part> },
    /// `{{ range }}`.
    Range { pipe: Pipe, body: Vec<Part>, otherwise: Vec<Part> },
    /// `{{ template "name" pipeline }}`.
    Call { name: String, pipe: Option<Pipe>, line: usize },
    /// `{{ break }}`.
    Break,
    /// `{{ continue }}`.
    Continue,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Names with their `$` of the variables that get the value.
    pub(super) variables: Vec<String>,
    /// True for `=`, which sets a variable that exists. False for `:=`, which makes a new one.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
    pub(super) line: usize,
}

/// An operand with its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) words: Vec<Operand>,
    pub(super) line: usize,
}

/// A value, and the fields that are taken of it: `$x.name`.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

/// What an operand begins with.
#[derive(Debug)]
pub(super) enum Base {
    /// `.`
    Dot,
    /// `nil`
    Nil,
    /// A literal.
    Constant(Value),
    /// The name with its `$`.
    Variable(String),
    /// The name of a function.
    Function(String),
    /// `( pipeline )`
    Pipe(Box<Pipe>),
}
