//! Installs a bundle, from a file or a server, into the idle slot and puts the slot on trial.
//! `bundle` decides what a valid bundle is, and `pull` fetches the bytes.
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
