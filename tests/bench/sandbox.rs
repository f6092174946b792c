//! A place of our own: as root, mount and PID namespaces in which the benchmark mounts and starts
//! what it likes.
//!
//! When this program ends, however it ends, the kernel ends the namespaces with all daemons and
//! mounts in them; loop devices are let go with the last file handle (see [`crate::slots`]). Only
//! the working folder is left to be removed by hand, and the next run does so if this one could
//! not.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{SigSet, Signal};

use crate::process;

/// Set for the run inside the namespaces.
const INSIDE: &str = "DARUMA_BENCH_INSIDE";

/// Where the benchmark works.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// An empty folder on the cache's filesystem.
    pub(crate) work: PathBuf,
    /// Whether it may mount, chroot and make loop devices.
    pub(crate) is_root: bool,
}

/// Makes the sandbox and runs `bench` in it. With root that is done by a second run of this
/// program.
pub(crate) fn run(cache: &Path, bench: impl FnOnce(&Sandbox) -> Result<()>) -> Result<ExitCode> {
    let work = cache.join("bench-work");
    if std::env::var_os(INSIDE).is_some() {
        // The outer run's mask came along, and would go on to servers that are to end by a signal.
        SigSet::all().thread_unblock()?;
        bench(&Sandbox { work, is_root: true })?;
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::create_dir_all(cache).with_context(|| format!("creating {}", cache.display()))?;
    let lock = std::fs::File::create(cache.join("bench.lock"))?;
    lock.try_lock().ok().context("another `make bench` is running with the same DARUMA_CACHE")?;
    remove(&work)?;
    std::fs::create_dir_all(&work)?;
    let result = if nix::unistd::geteuid().is_root() {
        inside()
    } else {
        eprintln!(
            "bench: not root, so no loop devices, no chroot for RAUC and no dropping of the page \
                cache: the slots are \
             plain files and the rows against RAUC are left out. Run `sudo make bench` for all of \
             them."
        );
        bench(&Sandbox { work: work.clone(), is_root: false }).map(|()| ExitCode::SUCCESS)
    };
    remove(&work)?;
    result
}

/// Runs this program in namespaces of its own; ends it when a signal asks us to end.
fn inside() -> Result<ExitCode> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let program = std::env::current_exe().context("finding this program")?;
    // With the PATH as it is: the bundler keeps what it builds by the environment of its tools,
    // too.
    let mut child = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        // The terminal's Ctrl-C is for this process, which then cleans up.
        .process_group(0)
        .spawn()
        .context("starting setpriv (package util-linux)")?;
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => {
                if let Some(status) = child.try_wait()? {
                    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
                    return Ok(ExitCode::from(code));
                }
            }
            signal => {
                end(&mut child)?;
                bail!("ended by {signal}; everything that was started is stopped");
            }
        }
    }
}

fn end(child: &mut Child) -> Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Removes the working folder. The mounts in it were never visible to this process, and `rm` would
/// not follow them if they were.
fn remove(work: &Path) -> Result<()> {
    // After a signal the last processes of the namespace may still be on their way out.
    for _ in 0..10 {
        let status =
            process::command("rm").args(["-rf", "--one-file-system"]).arg(work).status()?;
        if status.success() {
            return Ok(());
        }
    }
    ensure!(!work.exists(), "{} cannot be removed; remove it by hand", work.display());
    Ok(())
}
