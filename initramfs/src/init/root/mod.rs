//! The root of the new system: its image, its /var, what covers it, and the way into it.
//!
//! `plan` decides the order. Read `mounts`, `var`, `reset`, `fill`, `upper`, `merge`, `old_image`,
//! `owners`, `handover`, and `tree` below them.

pub(crate) mod fill;
pub(crate) mod handover;
pub(crate) mod merge;
pub(crate) mod mounts;
pub(crate) mod old_image;
pub(crate) mod owners;
pub(crate) mod reset;
pub(crate) mod tree;
pub(crate) mod upper;
pub(crate) mod var;
