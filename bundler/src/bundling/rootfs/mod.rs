//! Makes a root filesystem as a tar, by one run of mmdebstrap.
//!
//! `system` later removes what an image does not need.
//! Read `mmdebstrap`, then `mirror` and `staging`.

pub mod mirror;
mod mmdebstrap;
pub mod staging;

pub use mmdebstrap::{DEFAULT_EPOCH, Plan, build, source_date_epoch};
