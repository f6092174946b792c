//! A root filesystem in memory.
//!
//! `system` decides what belongs into an image.
//! Read `files`, `tar`, `glob`.

mod files;
pub mod glob;
pub mod tar;

pub use files::{Content, ContentReader, Inode, InodeId, Kind, Tree};
