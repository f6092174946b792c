//! The images of a slot: their files, their chunks, and the hashes over them.
//!
//! `manifest` says which images a bundle has, and `file` reads them from a bundle. Read `squashfs`
//! and `squashfs_read`, then `chunk`, `cut`, `slot_chunks`, then `verity_tree`.

pub(crate) mod aside;
pub(crate) mod chunk;
pub(crate) mod cut;
pub(crate) mod slot_chunks;
pub(crate) mod squashfs;
pub(crate) mod squashfs_read;
pub(crate) mod verity_tree;
