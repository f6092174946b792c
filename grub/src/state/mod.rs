//! The boot state: its fields, the slot that follows from it, and the allowed changes.
//!
//! `store` knows where the state lies on the disk, and the callers decide when it changes.
//! Read `boot`, `choice`, `transition`, `recovery`.

pub(crate) mod boot;
pub(crate) mod choice;
mod recovery;
pub(crate) mod transition;
