//! The manifest: what a bundle says of itself, as text and as types.
//!
//! Whether anybody has signed it is left to `file`, and whether it fits this device to `policy`.
//! Read `fields`, then `ini` and `section`, which turn lines into fields, and `error`.

pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod ini;
pub(crate) mod section;
