//! The boot state: what it says, which slot follows from it, and how it may change.
//!
//! `store` knows where the state lies on the disk, and the callers decide when it changes. Read
//! `boot`, `choice`, `transition`, `recovery`.

pub(crate) mod boot;
pub(crate) mod choice;
mod recovery;
pub(crate) mod transition;
