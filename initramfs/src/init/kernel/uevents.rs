//! The kernel's announcements of devices (netlink, `NETLINK_KOBJECT_UEVENT`).
//!
//! The callers know what a device is good for. They wait for announcements instead of sleeping.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

/// A socket that hears the kernel.
pub(crate) struct Uevents {
    socket: OwnedFd,
}

/// One announcement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Uevent {
    /// A device came. `modalias` finds its driver, if the device needs one.
    Added { modalias: Option<String> },
    /// Another kind of event, which nobody here needs.
    Other,
    /// The kernel had more to say than the socket could hold. The caller must look at everything
    /// again.
    Lost,
}

impl Uevents {
    /// Starts listening. The socket hears every announcement from now on.
    pub(crate) fn open() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)
            .context("opening the socket of kernel events")?;
        // Group 1 is the kernel; 2 would be udev.
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1))
            .context("listening to kernel events")?;
        Ok(Self { socket })
    }

    /// Returns the next event, or `None` after `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Result<Option<Uevent>> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error).context("waiting for kernel events"),
        }
        let mut message = [0; 8192];
        match socket::recv(self.socket.as_raw_fd(), &mut message, MsgFlags::empty()) {
            Ok(length) => Ok(Some(Uevent::parse(&message[..length]))),
            Err(Errno::ENOBUFS) => Ok(Some(Uevent::Lost)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error).context("reading kernel events"),
        }
    }
}

impl Uevent {
    /// Reads `ACTION@PATH`, then `KEY=VALUE`s. NUL ends each.
    fn parse(message: &[u8]) -> Self {
        let mut added = false;
        let mut modalias = None;
        for field in message.split(|byte| *byte == 0) {
            match std::str::from_utf8(field).ok().and_then(|field| field.split_once('=')) {
                Some(("ACTION", "add" | "change")) => added = true,
                Some(("MODALIAS", value)) => modalias = Some(value.to_owned()),
                _ => {}
            }
        }
        if added { Self::Added { modalias } } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_device_tells_what_its_driver_is_found_by() {
        let message = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=usb\0MODALIAS=usb:v1234\0SEQNUM=7\0";
        assert_eq!(Uevent::parse(message), Uevent::Added { modalias: Some("usb:v1234".into()) });
        assert_eq!(
            Uevent::parse(b"add@/x\0ACTION=add\0DEVNAME=vda1\0"),
            Uevent::Added { modalias: None }
        );
        assert_eq!(Uevent::parse(b"remove@/x\0ACTION=remove\0"), Uevent::Other);
        assert_eq!(Uevent::parse(b""), Uevent::Other);
    }
}
