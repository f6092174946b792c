//! Compressing content again to the very bytes that it had in the new image.
//!
//! What the content is made of is left to `records`.
//! Read `recompress` for blocks of a SquashFS, `repack` for a kernel.

pub(crate) mod recompress;
pub(crate) mod repack;
