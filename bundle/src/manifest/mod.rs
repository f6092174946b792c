//! The manifest: what a bundle says of itself, as text and as types.
//!
//! `file` checks the signatures, and `policy` checks that the manifest fits this device. Read
//! `fields`, then `ini` and `section`, which turn lines into fields, and `error`.

pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod ini;
pub(crate) mod section;
