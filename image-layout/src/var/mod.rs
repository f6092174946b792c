//! The persistent ext4 on the device: a torn superblock is mended, and an empty filesystem is made.
//! `folders` says where in it the changes of /home and its like lie.
//!
//! daruma-init decides when. `factory::var` makes the one of the factory image.

pub(crate) mod empty;
pub(crate) mod folders;
pub(crate) mod superblock;
