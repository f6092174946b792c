//! Waits for the kernel's announcements of devices (netlink).
//!
//! `sticks` looks for volumes after each one. An announcement says only that something may have
//! changed. udev is not needed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

/// A socket that hears the kernel.
#[derive(Debug)]
pub(crate) struct Uevents {
    socket: OwnedFd,
}

impl Uevents {
    /// Starts to listen. Every announcement from now on is heard, without any rule of udev.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
        // Group 1 is the kernel; 2 would be udev.
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(Self { socket })
    }

    /// Waits up to `timeout`. True if a USB device or a disk may have come or gone.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, timeout), Ok(count) if count > 0) {
            return false;
        }
        let mut changed = false;
        let mut message = [0; 8192];
        loop {
            match socket::recv(self.socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => changed |= is_about_disks(&message[..length]),
                // The kernel had more to say than the socket could hold, so something may have
                // changed.
                Err(Errno::ENOBUFS) => changed = true,
                Err(_) => return changed,
            }
        }
    }
}

/// `ACTION@PATH`, then `KEY=VALUE`s, all ended by NUL.
fn is_about_disks(message: &[u8]) -> bool {
    let subsystems: [&[u8]; 3] = [b"SUBSYSTEM=block", b"SUBSYSTEM=usb", b"SUBSYSTEM=scsi"];
    message.split(|byte| *byte == 0).any(|field| subsystems.contains(&field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disks_and_what_brings_them_are_of_interest() {
        assert!(is_about_disks(b"add@/devices/x/sda\0ACTION=add\0SUBSYSTEM=block\0DEVNAME=sda\0"));
        assert!(is_about_disks(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=usb\0"));
        assert!(!is_about_disks(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=net\0"));
        assert!(!is_about_disks(b""));
    }
}
