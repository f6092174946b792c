//! What differs between two systems.
//!
//! `system` has read both.
//! Read `change`, `file`, `service`, `diff`, then `text`.

mod change;
mod diff;
mod file;
mod service;
mod text;

pub use diff::Diff;
