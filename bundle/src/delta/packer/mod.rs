//! Compresses content again to the very bytes that it had in the new image.
//!
//! `records` knows what the content is made of. Read `recompress` for blocks of a SquashFS,
//! `repack` for a kernel.

pub(crate) mod recompress;
pub(crate) mod repack;
