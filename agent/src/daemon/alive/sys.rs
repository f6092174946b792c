//! The ioctls of the watchdog, which no safe crate wraps.
//!
//! `watchdog` calls them. All unsafe code of this crate is in this file.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::libc::c_int;

mod ioctl {
    // linux/watchdog.h: WATCHDOG_IOCTL_BASE 'W'
    nix::ioctl_readwrite!(set_timeout, b'W', 6, nix::libc::c_int);
}

/// Asks the watchdog for a timeout of `seconds`. Returns the one that it chose.
pub(crate) fn set_watchdog_timeout(device: &File, seconds: c_int) -> nix::Result<c_int> {
    let mut timeout = seconds;
    // SAFETY: the descriptor is open for the whole call, and WDIOC_SETTIMEOUT reads and writes one
    // int behind a pointer that is valid for it. A device that is no watchdog answers ENOTTY.
    unsafe { ioctl::set_timeout(device.as_raw_fd(), &raw mut timeout) }?;
    Ok(timeout)
}
