//! Packs a root filesystem as a SquashFS, and adds the hashes of its blocks.
//!
//! The crate `squashfs-ng` calls libsquashfs.
//! Read `pack`, `order`, `blocks`, `verity`.

pub mod blocks;
mod order;
mod pack;
pub mod verity;

pub use pack::{LEVEL, pack};
