//! A root filesystem as a SquashFS, with the hashes of its blocks.
//!
//! The calls of libsquashfs are left to the crate `squashfs-ng`.
//! Read `pack`, `order`, `blocks`, `verity`.

pub mod blocks;
mod order;
mod pack;
pub mod verity;

pub use pack::{LEVEL, pack};
