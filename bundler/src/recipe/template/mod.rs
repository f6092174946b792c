//! Go's text/template, as debos's recipes use it.
//!
//! `load` parses the text that comes out of it as YAML. This folder knows nothing of recipes.
//! Read `render`, `outcome`, then `lex`, `parse`, `syntax`, `eval`, `value` and `functions`.
//!
//! Every character of the output knows its line in the template, so a message about the YAML names
//! the line that a person can edit.

mod eval;
mod functions;
mod lex;
mod outcome;
mod parse;
mod render;
mod syntax;
mod value;

pub(super) use render::render;
