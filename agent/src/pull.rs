//! Bundles on web servers: [`Remote`] is a bundle that is read by range requests while it is
//! installed, [`fetch`] gets a small document.
//!
//! Nothing here is trusted and nothing is kept in a file: what arrives goes to `bundle`, which
//! hands out only what matches the signed hashes. This module's own promises are about time, memory
//! and money: everything that a server can do to it ends within the limits of the configuration's
//! section `[pull]`, with one line that says what.

mod address;
mod answer;
mod client;
mod connection;
mod document;
mod line;
mod oci;
mod pace;
mod patience;
mod proxy;
mod remote;
mod spans;
mod tls;
mod transfer;
mod trouble;

pub use document::{Document, fetch};
pub(crate) use remote::Remote;
