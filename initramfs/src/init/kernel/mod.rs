//! What `daruma-init` tells and asks the kernel: its log, its modules, its devices, its watchdog.
//!
//! The callers know what a boot needs of it. Read `console`, `drivers`, `uevents`, `watchdog`,
//! `sys`.

pub(crate) mod console;
pub(crate) mod drivers;
pub(crate) mod sys;
pub(crate) mod uevents;
pub(crate) mod watchdog;
