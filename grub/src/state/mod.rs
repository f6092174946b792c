//! The boot state: what it says, which slot follows from it, and how it may change.
//!
//! Where the state lies on the disk is left to `store`, and when it changes to the callers.
//! Read `boot`, `choice`, `transition`, `recovery`.

pub(crate) mod boot;
pub(crate) mod choice;
mod recovery;
pub(crate) mod transition;
