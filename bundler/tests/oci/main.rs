//! Repositories in OCI registries: runs `daruma-bundler push` and `pull` as a publisher does.
//!
//! `make check` runs them against servers that lie. With the feature `real-registry`, as in `make
//! test`, they also run against Debian's docker-registry. apt downloads its package once.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

mod hostile;
mod publisher;
#[cfg(feature = "real-registry")]
mod real;
mod web;
