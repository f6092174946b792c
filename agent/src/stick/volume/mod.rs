//! A volume that a person plugged in: the kernel announces it, it is found, it is mounted.
//! Leaves to `stick` what is done with the bundles on it.
//! Read: `uevents`, `scan`, `mount`.

pub(crate) mod mount;
pub(crate) mod scan;
pub(crate) mod uevents;
