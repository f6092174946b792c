//! Runs the real program on devices in temporary folders.
//!
//! `bench` makes the devices. They have real environments on a real FAT, and real bundles.

// A test that unwraps shows where it failed.
#![allow(clippy::unwrap_used)]

mod bench;
#[cfg(feature = "pull")]
mod channel;
mod daemon;
#[cfg(feature = "pull")]
mod delta;
#[cfg(feature = "etc")]
mod etc;
mod factory_reset;
mod install;
#[cfg(feature = "provision")]
mod provision;
#[cfg(feature = "pull")]
mod publisher;
#[cfg(feature = "pull")]
mod pull;
#[cfg(feature = "pull")]
mod pull_tls;
mod recovery;
mod refusals;
#[cfg(feature = "pull")]
mod registry;
#[cfg(feature = "pull")]
mod report;
mod reuse;
#[cfg(feature = "pull")]
mod tls;
mod units;
mod verbs;
#[cfg(feature = "pull")]
mod web_server;
