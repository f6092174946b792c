//! The places where devices find releases: a repository, a registry, a small web server.
//!
//! `fleet` finds out if a release does well.
//! Read `repo`, `registry`, `serve`.

pub mod registry;
pub mod repo;
pub mod serve;
