//! Fetches over HTTP and from OCI registries: a bundle by ranges, a small document in one piece.
//! `bundle` verifies the bytes. Nothing is kept in a file.
//! Read: `trouble`, `connection/`, `client/`, `document`, `oci`, `ranges/`, `fetch`.

mod client;
mod connection;
mod document;
mod fetch;
mod oci;
mod pace;
mod patience;
mod ranges;
mod trouble;

pub use document::Document;
pub use fetch::fetch;
pub(crate) use ranges::remote::Remote;
