//! A person's commands about the slots and about /var.
//!
//! The daemon does not need them. `main` has the other verbs.

pub(crate) mod factory_reset;
pub(crate) mod mark;
