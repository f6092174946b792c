//! A root filesystem as a tar, by one run of mmdebstrap.
//!
//! What is left out of an image afterwards is left to `system`.
//! Read `mmdebstrap`, then `mirror` and `staging`.

pub mod mirror;
mod mmdebstrap;
pub mod staging;

pub use mmdebstrap::{DEFAULT_EPOCH, Plan, build, source_date_epoch};
