//! The disk that GRUB started from, and what is read from it before anything is mounted.
//!
//! Which of several disks it is, is decided by the crate `grub-env`.
//! Read `partitions`, `verity`, `environment`.

pub(crate) mod environment;
pub(crate) mod partitions;
pub(crate) mod verity;
