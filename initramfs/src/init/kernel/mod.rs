//! What the kernel is told and asked: its log, its modules, its devices, its watchdog.
//!
//! What a boot needs of it is left to the callers.
//! Read `console`, `drivers`, `uevents`, `watchdog`, `sys`.

pub(crate) mod console;
pub(crate) mod drivers;
pub(crate) mod sys;
pub(crate) mod uevents;
pub(crate) mod watchdog;
