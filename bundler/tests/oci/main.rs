//! Repositories in OCI registries: `daruma-bundler push` and `pull` as a publisher runs them.
//!
//! `make check` runs them against servers that lie. With the feature `real-registry`, as in `make
//! test`, they also run against Debian's docker-registry, whose package apt then downloads once.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

mod hostile;
mod publisher;
#[cfg(feature = "real-registry")]
mod real;
mod web;
