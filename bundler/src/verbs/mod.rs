//! The verbs that have arguments of their own, and the calls that they make.
//!
//! The library does the work. `main` has the other verbs.
//! Read `build`, `bundle`, `signing`, `cache`, `contents`, `show`, `repo`, `fleet`, then `verify`.

pub(crate) mod build;
pub(crate) mod bundle;
pub(crate) mod cache;
pub(crate) mod contents;
pub(crate) mod fleet;
pub(crate) mod repo;
pub(crate) mod show;
mod signing;
pub(crate) mod verify;
