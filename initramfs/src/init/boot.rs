//! The facts that a boot has found so far.
//!
//! `main` fills them in, step by step. If the boot fails, `ending` needs them.

use std::path::PathBuf;

use crate::cmdline::Cmdline;
use crate::kernel::drivers::Drivers;
use crate::kernel::watchdog::Watchdog;

/// What the boot has found and done so far. The end of a failed boot needs to know it.
pub(crate) struct Boot {
    pub(crate) line: Option<Cmdline>,
    pub(crate) drivers: Drivers,
    pub(crate) watchdog: Watchdog,
    pub(crate) esp: Option<PathBuf>,
    /// Where `/var` can be written durably.
    pub(crate) var: Option<PathBuf>,
}

impl Boot {
    /// Returns a boot that has found and done nothing.
    pub(crate) fn new() -> Self {
        Self {
            line: None,
            drivers: Drivers::default(),
            watchdog: Watchdog::none(),
            esp: None,
            var: None,
        }
    }
}
