//! Measures what a process costs: time, memory and calls.
//!
//! `sys` has the call that waits. The measured command is the child of a second run of this
//! program.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;

use crate::sys;

/// Calls and bytes of read(2), write(2) and similar calls, for files and terminals (`/proc/PID/io`,
/// proc_pid_io(5)).
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Io {
    pub(crate) read_calls: u64,
    pub(crate) read_bytes: u64,
    pub(crate) write_calls: u64,
    pub(crate) write_bytes: u64,
}

impl Io {
    /// Returns the counts of `pid` so far, with those of the children that it has waited for.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.and_then(|number| number.parse().ok())
                .with_context(|| format!("{name} in /proc/{pid}/io"))
        };
        Ok(Self {
            read_calls: field("syscr")?,
            read_bytes: field("rchar")?,
            write_calls: field("syscw")?,
            write_bytes: field("wchar")?,
        })
    }

    /// Returns the counts since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            read_calls: self.read_calls - before.read_calls,
            read_bytes: self.read_bytes - before.read_bytes,
            write_calls: self.write_calls - before.write_calls,
            write_bytes: self.write_bytes - before.write_bytes,
        }
    }
}

/// The cost of one run of something.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    /// Processor time of all threads, seconds. It is not known of RAUC's service.
    pub(crate) cpu_seconds: f64,
    /// Most resident memory, bytes.
    pub(crate) peak_bytes: u64,
    pub(crate) io: Io,
}

impl Usage {
    /// Returns the cost of this run and then `next`.
    pub(crate) fn then(self, next: Self) -> Self {
        Self {
            seconds: self.seconds + next.seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            peak_bytes: self.peak_bytes.max(next.peak_bytes),
            io: Io {
                read_calls: self.io.read_calls + next.io.read_calls,
                read_bytes: self.io.read_bytes + next.io.read_bytes,
                write_calls: self.io.write_calls + next.io.write_calls,
                write_bytes: self.io.write_bytes + next.io.write_bytes,
            },
        }
    }
}

/// First argument of the run of this program that measures another one; see [`measure`].
pub(crate) const METER: &str = "meter";

/// Runs a command to its end. Returns its cost.
///
/// A child starts in its parent's memory and inherits the peak of that memory. So the parent is a
/// second, small run of this program, the meter. The meter can see peaks from 3 MiB on.
///
/// # Errors
/// The command cannot be started or fails. The message has what the command printed.
pub(crate) fn measure(command: &Command) -> Result<Usage> {
    let mut meter = Command::new(std::env::current_exe().context("finding this program")?);
    meter.arg(METER).arg(command.get_program()).args(command.get_args());
    meter.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let line = run(&mut meter)?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [seconds, cpu_seconds, peak_bytes, read_calls, read_bytes, write_calls, write_bytes] =
        fields[..]
    else {
        bail!("the meter of {command:?} said {line:?}");
    };
    Ok(Usage {
        seconds: seconds.parse()?,
        cpu_seconds: cpu_seconds.parse()?,
        peak_bytes: peak_bytes.parse()?,
        io: Io {
            read_calls: read_calls.parse()?,
            read_bytes: read_bytes.parse()?,
            write_calls: write_calls.parse()?,
            write_bytes: write_bytes.parse()?,
        },
    })
}

/// The meter: runs the command in `words` and prints what [`measure`] reads.
///
/// # Errors
/// As for [`measure`].
pub(crate) fn meter(words: &[OsString]) -> Result<()> {
    let (program, arguments) = words.split_first().context("the meter needs a command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let before = Io::of(std::process::id())?;
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let (status, peak, cpu) = sys::wait(Pid::from_raw(child.id().cast_signed()))?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(status.success(), "ended with {status}");
    // The kernel adds the calls of a finished child to those of its parent. The meter itself makes
    // almost no calls.
    let Io { read_calls, read_bytes, write_calls, write_bytes } =
        Io::of(std::process::id())?.since(before);
    println!("{seconds} {cpu} {peak} {read_calls} {read_bytes} {write_calls} {write_bytes}");
    Ok(())
}

/// Runs a command whose cost does not matter. Returns its stdout.
///
/// # Errors
/// As for [`measure`].
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns a command. It looks for the program in sbin too, which an ordinary user's PATH lacks.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    command
}

/// Returns a size from `/proc/PID/status`, such as `VmRSS` or `VmHWM`, in bytes.
pub(crate) fn memory(pid: u32, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{field} in /proc/{pid}/status"))? * 1024)
}
