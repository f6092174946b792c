//! The daemon's signs of life: to systemd, or to the hardware watchdog where systemd is missing.
//! The daemon decides when the signs stop.
//! Read: `notify`, `watchdog`, `sys`, `keepalive`.

pub(crate) mod keepalive;
pub(crate) mod notify;
mod sys;
mod watchdog;
