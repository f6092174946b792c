//! Runs a program with a time limit: as a health check, whose end of output is kept, or for its
//! answer.
//!
//! `check` and `units::systemd` choose the program. At the limit the whole process group is
//! killed.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Command;

/// Bytes of a check's output that are kept: its end.
const OUTPUT_KEPT: usize = 512;

/// Kills the whole process group when the check is given up: at its limit, or when the daemon
/// stops.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

/// Runs `command`. After `limit` it has failed, and its process group is killed.
pub(crate) async fn run_command(mut command: Command, limit: Duration) -> Result<(), String> {
    let mut output = Tail::default();
    let ended = tokio::time::timeout(limit, run_to_end(&mut command, &mut output)).await;
    let program = command.as_std().get_program();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{}{output}", describe(status))),
        Ok(Err(error)) => Err(format!("cannot be run: {}: {error}", Path::new(program).display())),
        Err(_) => {
            Err(format!("took longer than {:.1} s and was killed{output}", limit.as_secs_f64()))
        }
    }
}

/// Runs `command` and returns what it prints. After `limit` it has failed, and it is killed. The
/// error is the end of a sentence.
pub(crate) async fn output_of(mut command: Command, limit: Duration) -> Result<String, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let program = command.as_std().get_program().to_owned();
    let program = Path::new(&program).display();
    match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) => {
            let mut tail = Tail::default();
            tail.push(&output.stderr);
            Err(format!("{program} {}{tail}", describe(output.status)))
        }
        Ok(Err(error)) => Err(format!("{program} cannot be run: {error}")),
        Err(_) => {
            Err(format!("{program} took longer than {:.1} s and was killed", limit.as_secs_f64()))
        }
    }
}

async fn run_to_end(command: &mut Command, output: &mut Tail) -> io::Result<ExitStatus> {
    // One pipe takes both outputs, so the lines stay in order.
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    // The command holds our copies of the pipe's writing end. While they are open, the end of the
    // output cannot be seen.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = pipe::Receiver::from_owned_fd(reader.into())?;
    let mut piece = [0; OUTPUT_KEPT];
    let status = loop {
        tokio::select! {
            biased;
            count = reader.read(&mut piece) => match count? {
                0 => break child.wait().await?,
                count => output.push(&piece[..count]),
            },
            // A child that the check left behind may hold the pipe open for ever.
            status = child.wait() => break status?,
        }
    };
    group.0 = None;
    Ok(status)
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended strangely".to_owned(),
    }
}

/// The end of an output, shown as one line after a colon.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(OUTPUT_KEPT);
        self.0.drain(..surplus);
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return Ok(());
        }
        // With control characters a check could write over the console of whoever reads the status.
        let shown: String =
            lines.join(" | ").chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        write!(f, ": {shown}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        runtime.block_on(run_command(command, limit))
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn success_is_exit_code_zero() {
        assert_eq!(shell("echo fine", LONG), Ok(()));
    }

    #[test]
    fn failure_carries_the_code_and_the_end_of_both_outputs_in_one_line() {
        let cause = shell("echo one; echo two >&2; printf 'a\\033b\\n'; exit 3", LONG).unwrap_err();
        assert_eq!(cause, "exited with 3: one | two | a?b");
        let cause =
            shell("i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; exit 1", LONG)
                .unwrap_err();
        assert!(cause.ends_with("line 499") && cause.len() < 1200, "{cause}");
        assert_eq!(shell("kill -9 $$", LONG).unwrap_err(), "was killed by signal 9");
    }

    #[test]
    fn a_check_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        // Opening a fifo for reading ends when its last writer dies: the child in the background.
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let held = fifo.clone();
        let reader = std::thread::spawn(move || std::fs::read_to_string(held).unwrap());
        let script =
            format!("(echo alive; exec sleep 1000) > {} & echo waiting; wait", fifo.display());
        let cause = shell(&script, Duration::from_millis(700)).unwrap_err();
        assert_eq!(cause, "took longer than 0.7 s and was killed: waiting");
        assert_eq!(reader.join().unwrap(), "alive\n");
    }

    #[test]
    fn a_check_that_leaves_a_child_behind_still_ends() {
        let started = std::time::Instant::now();
        assert_eq!(shell("sleep 5 & exit 0", LONG), Ok(()));
        assert!(started.elapsed() < Duration::from_secs(4));
    }
}
