//! An install: from a bundle, in a file or on a server, to a slot on trial.
//! Leaves to `bundle` what a valid bundle is, to `pull` how bytes come.
//! Read: `command`, `web`, `delta`, `chunks/`.

pub(crate) mod chunks;
pub(crate) mod command;
#[cfg(feature = "pull")]
mod delta;
#[cfg(feature = "pull")]
pub(crate) mod web;
