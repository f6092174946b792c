//! From a recipe to a bundle.
//!
//! What a recipe says is left to `recipe`, and everything done with a bundle to `release`.
//! Read in the order of the work: `rootfs` writes a tar, `tree` loads it, `system` changes it,
//! `squash` packs it, and `make` puts the steps together.

pub(crate) mod layout;
mod make;
pub mod rootfs;
pub mod squash;
pub mod system;
pub mod tree;

pub use make::Bundling;
