//! Makes a bundle from a recipe.
//!
//! `recipe` reads the recipe, and `release` works with the finished bundle.
//! Read in the order of the work: `rootfs` writes a tar and, with `disk`, a recipe's own disk.
//! `renumber` keeps the numbers of accounts. `tree` loads a tar, `system` changes it, `accounts`
//! compares its users with those of an older bundle, `squash` packs it, and `make` calls these
//! steps.

pub mod accounts;
mod disk;
pub(crate) mod layout;
mod make;
pub mod renumber;
pub mod rootfs;
pub mod squash;
pub mod system;
pub mod tree;

pub use make::Bundling;
