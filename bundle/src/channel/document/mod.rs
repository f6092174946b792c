//! The two signed documents of a channel, as bytes and as types.
//!
//! [`super::decide`] says what a device does with a release. Read `kind`, `signed`, `root`,
//! `channel`, then the types of their fields, and `error`.

pub(crate) mod channel;
pub(crate) mod error;
pub(crate) mod kind;
pub(crate) mod later;
pub(crate) mod location;
pub(crate) mod rollout;
pub(crate) mod root;
pub(crate) mod signed;
pub(crate) mod time;
