//! Fleets: the results of a release on many devices, before and during its roll-out.
//!
//! `publish` publishes and withdraws releases.
//! Read `watch`, `simulate`, then `share` and `random`.

pub mod random;
pub mod share;
pub mod simulate;
pub mod watch;
