//! The root of the new system: its image, its /var, what covers it, and the way into it.
//!
//! `plan` decides the order. Read `mounts`, `var`, `reset`, `fill`, `cover`, `owners`, `handover`,
//! and `tree` below them.

pub(crate) mod cover;
pub(crate) mod fill;
pub(crate) mod handover;
pub(crate) mod mounts;
pub(crate) mod owners;
pub(crate) mod reset;
pub(crate) mod tree;
pub(crate) mod var;
