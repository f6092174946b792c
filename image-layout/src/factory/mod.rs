//! The factory image: a disk that boots, made on the build host by an ordinary user.
//!
//! `partition` says where the partitions lie, and the bundler makes the images of slot A. Read
//! `image`, then what it is made of: `grub_image`, `var`, `sparse`; then `qcow2`, and below them
//! `host_tool` and `aside`.

pub(crate) mod aside;
pub(crate) mod grub_image;
pub(crate) mod host_tool;
pub(crate) mod image;
pub(crate) mod qcow2;
pub(crate) mod sparse;
pub(crate) mod var;
