//! The real program on devices laid out in temporary folders: real environments on a real FAT, real bundles.

// A test that unwraps says where it failed.
#![allow(clippy::unwrap_used)]

mod bench;
mod daemon;
mod install;
mod recovery;
mod refusals;
mod reuse;
mod verbs;
