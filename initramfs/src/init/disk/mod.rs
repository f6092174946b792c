//! The disk that GRUB started from, and what `daruma-init` reads from it before anything is
//! mounted.
//!
//! The crate `grub-env` decides which of several disks it is. Read `partitions`, `verity`,
//! `environment`, `credentials`.

pub(crate) mod credentials;
pub(crate) mod environment;
pub(crate) mod partitions;
pub(crate) mod verity;
