//! The functions of templates: Go's own, those of slim-sprig, and debos's three.
//!
//! `eval` calls them. It does `and` and `or` itself, because they leave arguments out.
//! Read `function`, `arguments`, then `builtin`, `format`, `text`, `number`, `list`, `dict` and
//! `other`.

mod arguments;
mod builtin;
mod dict;
mod format;
mod function;
mod list;
mod number;
mod other;
mod text;

pub(super) use function::{find, names, refused};
