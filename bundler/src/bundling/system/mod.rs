//! Turns a freshly installed Debian into the system of a device.
//!
//! `rootfs` installs Debian, and `squash` packs the system.
//! Read `clean`, `without`, `secrets`, `kernel`, `device`, `first_boot`.

pub mod clean;
pub mod device;
pub mod first_boot;
pub mod kernel;
pub mod secrets;
pub mod without;
