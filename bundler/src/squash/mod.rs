//! A root filesystem as a SquashFS.
//!
//! The calls of libsquashfs are left to the crate `squashfs-ng`.
//! Read `pack`.

mod pack;

pub use pack::{LEVEL, pack};
