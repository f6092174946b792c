//! Fleets: what a release does to many devices, before and while it is rolled out.
//!
//! Publishing and withdrawing a release is left to `publish`.
//! Read `watch`, `simulate`, then `share` and `random`.

pub mod random;
pub mod share;
pub mod simulate;
pub mod watch;
