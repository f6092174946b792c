//! Where devices find releases: a repository, a registry, a small web server.
//!
//! Whether a release does well is left to `fleet`.
//! Read `repo`, `registry`, `serve`.

pub mod registry;
pub mod repo;
pub mod serve;
