//! The partitions of a slot: to check a boot image, to read the running slot, to write the other.
//! Leaves to `install` what is written, and from where.
//! Read: `boot_image`, `running`, `target`.

pub(crate) mod boot_image;
pub(crate) mod running;
pub(crate) mod target;
