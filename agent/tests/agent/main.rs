//! The real program on devices laid out in temporary folders: real environments on a real FAT, real bundles.

// A test that unwraps says where it failed.
#![allow(clippy::unwrap_used)]

mod bench;
mod channel;
mod daemon;
mod install;
mod publisher;
mod recovery;
mod refusals;
mod verbs;
