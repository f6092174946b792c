//! Packs a root filesystem as a SquashFS, and adds the hashes of its blocks.
//!
//! The crate `squashfs-ng` calls libsquashfs.
//! Read `pack`, `order`, `metadata`, `blocks`, `unpack`, `verity`.

pub mod blocks;
mod metadata;
mod order;
mod pack;
mod unpack;
pub mod verity;

pub use metadata::time;
pub use pack::{LEVEL, pack};
pub use unpack::{Unpacked, unpack};
