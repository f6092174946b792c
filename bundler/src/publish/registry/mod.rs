//! The files of a repository in an OCI registry.
//!
//! `repo` knows what the files say. `docs/oci.md` says how they lie in a registry.
//! Read `push` and `pull`, then `blobs` and `client`, then the other files.

mod answer;
mod blobs;
mod client;
mod credentials;
mod error;
mod newer;
mod pull;
mod push;
mod tls;

pub use client::{Registry, Rights};
pub use error::RegistryError;
pub use pull::{pull_file, pull_repository};
pub use push::{push_file, push_repository};
