//! Ctrl-C and SIGTERM during an install.
//!
//! Each long task asks between two pieces of its work if it must stop. The signal does not kill the
//! process, so every install ends in order.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::exit::{Exit, Failure};

/// Knows whether somebody asked to stop.
#[derive(Debug)]
pub struct Interrupt {
    pending: Option<SignalFd>,
}

impl Interrupt {
    /// Blocks SIGINT and SIGTERM for this thread and for those that it starts later. Only
    /// [`Interrupt::check`] sees them then.
    ///
    /// # Errors
    /// [`Exit::Unexpected`] when the kernel refuses.
    pub fn on_signals() -> Result<Self, Failure> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        let fd = signals
            .thread_block()
            .and_then(|()| {
                SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            })
            .map_err(|error| {
                Failure::new(Exit::Unexpected, format!("taking over SIGINT and SIGTERM: {error}"))
            })?;
        Ok(Self { pending: Some(fd) })
    }

    /// Returns an interrupt that never comes.
    #[must_use]
    pub fn never() -> Self {
        Self { pending: None }
    }

    /// Returns an error if a person asked to stop.
    ///
    /// # Errors
    /// [`Exit::Interrupted`] or [`Exit::Terminated`] once a signal has come.
    pub fn check(&self) -> Result<(), Failure> {
        let Some(pending) = &self.pending else { return Ok(()) };
        match pending.read_signal() {
            Ok(None) | Err(Errno::EAGAIN) => Ok(()),
            Ok(Some(info)) if info.ssi_signo == Signal::SIGINT as u32 => {
                Err(Failure::new(Exit::Interrupted, "stopped by Ctrl-C"))
            }
            Ok(Some(_)) => Err(Failure::new(Exit::Terminated, "stopped by SIGTERM")),
            Err(error) => {
                Err(Failure::new(Exit::Unexpected, format!("looking for signals: {error}")))
            }
        }
    }
}
