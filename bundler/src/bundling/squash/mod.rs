//! Packs a root filesystem as a SquashFS, and adds the hashes of its blocks.
//!
//! The crate `squashfs-ng` calls libsquashfs.
//! Read `pack`, `before`, `order`, `facts`, `metadata`, `blocks`, `unpack`, `verity`.

pub(crate) mod before;
pub mod blocks;
pub(crate) mod facts;
mod metadata;
mod order;
mod pack;
mod unpack;
pub mod verity;

pub use metadata::time;
pub use pack::pack;
pub use unpack::{Unpacked, unpack};
