//! A root filesystem in memory.
//!
//! What belongs into an image is left to `system`.
//! Read `files`, `tar`, `glob`.

mod files;
pub mod glob;
pub mod tar;

pub use files::{Content, ContentReader, Inode, InodeId, Kind, Tree};
