//! The daemon's signs of life: to systemd, and to the hardware watchdog where systemd is not there.
//! Leaves to the daemon when to stop them.
//! Read: `notify`, `watchdog`, `sys`, `keepalive`.

pub(crate) mod keepalive;
pub(crate) mod notify;
mod sys;
mod watchdog;
