//! The kernel's services that `daruma-init` uses: its log, modules, devices and watchdog.
//!
//! The callers know what a boot needs.
//! Read `console`, `drivers`, `uevents`, `watchdog`, `sys`.

pub(crate) mod console;
pub(crate) mod drivers;
pub(crate) mod sys;
pub(crate) mod uevents;
pub(crate) mod watchdog;
