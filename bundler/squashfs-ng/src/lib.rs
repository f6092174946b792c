//! Writes a SquashFS through libsquashfs, the C library of squashfs-tools-ng, and reads one file of
//! it.
//!
//! The caller walks its own tree and adds one inode after the other, the content of a folder before
//! the folder ([`Writer::add`]). The caller decides what belongs into an image.
//!
//! The same calls in the same order give the same bytes, however many processors pack them. All
//! unsafe code of the bundler is in this crate. Read `writer` and `reader`, then `inode`, `object`
//! and `error`.

mod error;
mod inode;
mod library;
mod object;
mod reader;
mod writer;

pub use error::Error;
pub use reader::read_file;
pub use writer::{Metadata, NAME_MAX, Node, Writer};
