//! The partitions of a slot: checks boot images, reads the running slot, writes the idle slot.
//! `install` decides what is written, and from where.
//! Read: `boot_image`, `running`, `target`.

pub(crate) mod boot_image;
pub(crate) mod running;
pub(crate) mod target;
