//! A person's commands about the slots, about /var and about the credentials.
//!
//! The daemon does not need them. `main` has the other verbs.

pub(crate) mod factory_reset;
pub(crate) mod mark;
#[cfg(feature = "provision")]
pub mod provision;
