//! Waits for a child and returns what it has used.
//!
//! `process` makes the child. std and nix do not have this call. So this file has the only unsafe
//! code of the benchmark.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc;
use nix::unistd::Pid;

/// Waits for a child to end. Returns its status, its peak resident memory in bytes, and the
/// processor time of all its threads in seconds.
///
/// The peak is never below that of this program (see [`crate::process::measure`]).
///
/// # Errors
/// Those of wait4(2).
pub(crate) fn wait(pid: Pid) -> io::Result<(ExitStatus, u64, f64)> {
    let mut status = 0;
    // SAFETY: rusage has only integers, and all zeros is a valid value of them.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live, writable values of the types that wait4 wants.
    let waited = unsafe { libc::wait4(pid.as_raw(), &raw mut status, 0, &raw mut usage) };
    if waited != pid.as_raw() {
        return Err(io::Error::last_os_error());
    }
    // ru_maxrss is in KiB (getrusage(2)).
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Ok((ExitStatus::from_raw(status), usage.ru_maxrss.unsigned_abs() * 1024, cpu))
}
