//! The device's disk: finds the right disk and its partitions, and opens them. `slot/` knows what a
//! partition holds.
//! Read: `partitions`, `direct`, `opener`.

mod direct;
pub(crate) mod opener;
pub(crate) mod partitions;
