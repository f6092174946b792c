//! The verbs that have arguments of their own, and the calls that they make.
//!
//! The library does the work. `main` has the other verbs.
//! Read `build`, `cache`, `contents`, `repo`, then `fleet`.

pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod contents;
pub(crate) mod fleet;
pub(crate) mod repo;
pub(crate) mod verify;
