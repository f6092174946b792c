//! The device's disk: finds the right disk and its partitions, and opens them. `slot/` knows what a
//! partition holds. `durable` replaces a file of a mounted partition.
//! Read: `partitions`, `direct`, `opener`, `durable`.

mod direct;
pub(crate) mod durable;
pub(crate) mod opener;
pub(crate) mod partitions;
