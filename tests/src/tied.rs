//! Starts programs that end with the test that started them, even if the test is killed.
//!
//! The callers choose the program. Otherwise QEMU and servers of a killed test would run for ever.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};

/// Returns a command that runs `program` tied to this process. [`spawn`] starts it.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a [`command`]. The kernel ties a process to the thread that started it. A test's thread
/// may end before the test's machine does. So one thread, which never ends, starts all programs.
///
/// # Errors
/// The command cannot be started. A program that does not exist ends at once with 127.
pub fn spawn(command: Command) -> Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, next) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in next {
                // If nobody waits for the answer any more, the child runs on its own until this
                // process ends.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let shown = format!("starting {command:?}");
    let (answer, answered) = channel();
    starter.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer))?;
    answered.recv()?.context(shown)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use super::*;

    /// If this variable is set, this process is the one that is killed.
    const VICTIM: &str = "DARUMA_TIED_VICTIM";

    #[test]
    fn what_a_killed_test_has_started_ends_with_it_and_not_with_its_thread() -> Result<()> {
        if std::env::var_os(VICTIM).is_some() {
            let mut sleep = command("sh");
            sleep.args(["-c", "echo ready; exec sleep 300"]);
            let starting = std::thread::spawn(move || spawn(sleep));
            let child = starting.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
            println!("\nstarted {}\n", child.id());
            loop {
                std::thread::park();
            }
        }
        let mut victim = Command::new(std::env::current_exe()?)
            .args(["--exact", "--nocapture"])
            .arg("tied::tests::what_a_killed_test_has_started_ends_with_it_and_not_with_its_thread")
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut shown = BufReader::new(victim.stdout.take().context("its output")?);
        // A program that says it is ready is tied. A kill of its parent before that would leave it
        // running.
        let (mut pid, mut ready) = (None, false);
        while pid.is_none() || !ready {
            let mut line = String::new();
            anyhow::ensure!(shown.read_line(&mut line)? > 0, "the victim has ended");
            pid = line.trim().strip_prefix("started ").map(str::to_owned).or(pid);
            ready |= line.contains("ready");
        }
        let pid = pid.context("a number")?;
        anyhow::ensure!(
            std::path::Path::new("/proc").join(pid).exists(),
            "it ended with its thread"
        );
        let killed = Instant::now();
        victim.kill()?;
        victim.wait()?;
        // The sleeper has the same output, so the output ends when both processes have ended.
        shown.read_to_end(&mut Vec::new())?;
        anyhow::ensure!(killed.elapsed() < Duration::from_secs(200), "it went on without its test");
        Ok(())
    }
}
