//! Runs the benchmark in a place of its own.
//!
//! As root, the place is a mount namespace and a PID namespace. The benchmark mounts and starts
//! what it needs there. `slots` makes the loop devices.
//!
//! When this program ends in any way, the kernel ends the namespaces with all daemons and mounts in
//! them. The last file handle on a loop device removes the device. Only the working folder may
//! stay. The next run then removes it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{SigSet, Signal};

use crate::process;

/// Environment variable that is set for the run inside the namespaces.
const INSIDE: &str = "DARUMA_BENCH_INSIDE";

/// The place where the benchmark works.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// An empty folder on the cache's filesystem.
    pub(crate) work: PathBuf,
    /// True if the benchmark may mount, chroot and make loop devices.
    pub(crate) is_root: bool,
}

/// Makes the sandbox and runs `bench` in it. As root, a second run of this program calls `bench`.
pub(crate) fn run(cache: &Path, bench: impl FnOnce(&Sandbox) -> Result<()>) -> Result<ExitCode> {
    let work = cache.join("bench-work");
    if std::env::var_os(INSIDE).is_some() {
        // This run has inherited the signal mask of the outer run. Servers would inherit it too,
        // and they must end by a signal.
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

/// Runs this program in namespaces of its own. A signal to this process ends that run.
fn inside() -> Result<ExitCode> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let program = std::env::current_exe().context("finding this program")?;
    // The PATH stays as it is, because the bundler keeps its results by the environment of its
    // tools, too.
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
        // Ctrl-C of the terminal reaches only this process, which then cleans up.
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

/// Removes the working folder. This process never sees the mounts in the folder. `rm` would not
/// follow them anyway.
fn remove(work: &Path) -> Result<()> {
    // After a signal, the last processes of the namespace may not have ended yet.
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
