//! The limits of a merge, and the heartbeat that ends it.
//!
//! A merge runs in an initramfs, before anything can log in. It must end soon and fit into memory
//! for any content of /etc. Beyond these limits mine wins: a file, or everything.

use crate::error::Error;

/// Most entries that are looked at. A Debian server's /etc has about 2,000, all of it. Beyond this
/// somebody keeps data in /etc, and the boot should not wait for it.
pub const MAX_ENTRIES: usize = 20_000;

/// Largest file that is read into memory, in bytes. Larger files are only compared.
pub const MAX_FILE: u64 = 1 << 20;

/// Largest account file that is merged by entries, in bytes: about 4,000 users. Some steps look
/// through a whole file for one account, so the time grows with the square.
pub const MAX_ACCOUNTS: u64 = 256 << 10;

/// Most lines of a file that is merged by lines. The time grows with the square of the lines that
/// differ, and nothing feeds the watchdog meanwhile. Three wholly different files of this length
/// took 0.4 s here.
pub const MAX_LINES: usize = 8_000;

/// Most bytes of merged files that wait in memory to be written.
pub const MAX_MERGED: usize = 16 << 20;

/// Deepest folder below /etc. The walk calls itself for each level.
pub const MAX_DEPTH: usize = 64;

/// Most lines of the report. The rest is counted.
pub const MAX_REPORT: usize = 2_000;

/// Called at least once for each entry and for each MiB of a file. It feeds the watchdog. If it
/// returns false, the merge ends with [`Error::OutOfTime`].
pub type Beat<'a> = &'a mut dyn FnMut() -> bool;

/// Feeds the watchdog and asks if the merge may go on.
pub(crate) fn beat(beat: Beat<'_>) -> Result<(), Error> {
    if beat() { Ok(()) } else { Err(Error::OutOfTime) }
}
