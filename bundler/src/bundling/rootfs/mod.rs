//! Makes a root filesystem as a tar, and the artifacts of a recipe, by one run of mmdebstrap.
//!
//! `system` later removes what an image does not need. `host::cache` keeps states and results.
//! Read `build`, `mmdebstrap`, `hooks` with hooks.sh, then `mirror`, `inputs`, `tools`, `locked`.

mod build;
mod hooks;
mod inputs;
mod locked;
pub mod mirror;
mod mmdebstrap;
mod tools;

pub use build::{DEFAULT_EPOCH, build, source_date_epoch};
pub use locked::Locking;
pub use mmdebstrap::{Plan, Settings, refuse};
