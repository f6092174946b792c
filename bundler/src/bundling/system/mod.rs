//! What turns a freshly installed Debian into the system of a device.
//!
//! Installing it is left to `rootfs`, and packing it to `squash`.
//! Read `clean`, `kernel` with `modinfo`, `device` with `trusted`.

pub mod clean;
pub mod device;
pub mod kernel;
pub mod modinfo;
pub mod trusted;
