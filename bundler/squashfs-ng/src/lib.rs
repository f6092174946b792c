//! Writes a SquashFS through libsquashfs, the C library of squashfs-tools-ng. The bundler reads one
//! without it: what it reads may be a stranger's.
//!
//! The caller walks its own tree and adds one inode after the other, the content of a folder before
//! the folder ([`Writer::add`]). The caller decides what belongs into an image.
//!
//! The same calls in the same order give the same bytes, however many processors pack them. All
//! unsafe code of the bundler is in this crate. Read `writer`, then `packed`, `inode`, `object` and
//! `error`.

mod error;
mod inode;
mod library;
mod object;
mod packed;
mod writer;

pub use error::Error;
pub use packed::PackedBlocks;
pub use writer::{Compressor, Metadata, NAME_MAX, Node, Packing, Writer};
