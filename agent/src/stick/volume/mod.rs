//! A volume that a person plugged in: waits for the kernel's announcement, finds and mounts it.
//! `stick` decides what happens with its bundles.
//! Read: `uevents`, `scan`, `mount`.

pub(crate) mod mount;
pub(crate) mod scan;
pub(crate) mod uevents;
