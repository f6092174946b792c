//! An install: from a bundle, in a file or on a server, to a slot on trial.
//! Leaves to `bundle` what a valid bundle is, to `pull` how bytes come.
//! Read: `command`, `fitness`, `origin`, `flip`, `chunks/`, then `web` and `delta`.

mod chunks;
pub(crate) mod command;
#[cfg(feature = "pull")]
mod delta;
pub(crate) mod fitness;
pub(crate) mod flip;
pub(crate) mod origin;
#[cfg(feature = "pull")]
pub(crate) mod web;
