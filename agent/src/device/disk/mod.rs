//! The device's disk: which one it is, its partitions, and how a partition is opened.
//! Leaves to `slot/` what lies in a partition.
//! Read: `partitions`, `direct`, `opener`.

mod direct;
pub(crate) mod opener;
pub(crate) mod partitions;
