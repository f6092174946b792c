//! Runs programs of the build host as child processes.
//!
//! The callers give the arguments. This file names every program with its Debian package. The error
//! for a missing program names the package, and the error for a failing one quotes its last lines.
//! On a host without apt the programs are those of a folder (`debian`).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::host::debian;

/// A program of the build host that is missing or failed (exit code 24).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

/// Programs and their Debian packages.
const PACKAGES: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("apt-get", "apt"),
    ("/usr/lib/apt/apt-helper", "apt"),
    ("depmod", "kmod"),
    ("veritysetup", "cryptsetup-bin"),
    ("newuidmap", "uidmap"),
    ("unshare", "util-linux"),
];

/// What makes namespaces is always the host's own.
const OF_THE_HOST: &[&str] = &["unshare", "newuidmap"];

/// Number of lines of stderr that go into the error.
const LAST_WORDS: usize = 12;

/// Returns a command for a program of the build host. The locale is fixed, because callers read the
/// program's messages.
///
/// Debian keeps `depmod` and `veritysetup` in /usr/sbin, which is not in an ordinary user's PATH.
#[must_use]
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    if debian::folder().is_some() && !OF_THE_HOST.contains(&program) {
        command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg("--mount").args(debian::words()).arg(program);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
    if let Ok(path) = std::env::join_paths(dirs) {
        command.env("PATH", path);
    }
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// Returns whether a program is there: in the PATH of [`command`], or at its absolute path.
#[must_use]
pub fn exists(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let is_program = |file: &Path| {
        file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if let Some(folder) = debian::folder().filter(|_| !OF_THE_HOST.contains(&program)) {
        let dirs = ["usr/bin", "usr/sbin"].map(|dir| folder.join(dir).join(program));
        return match program.strip_prefix('/') {
            Some(path) => is_program(&folder.join(path)),
            None => dirs.iter().any(|file| is_program(file)),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
    dirs.iter().any(|dir| is_program(&dir.join(program)))
}

/// Returns whether this process is root. The kernel gives a process's folder in /proc its effective
/// user.
#[must_use]
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Checks that the folder of `$DARUMA_TOOLS` has its programs, if there is one.
///
/// # Errors
/// It has not.
pub fn check_folder() -> Result<(), ToolError> {
    debian::complaint().map_or(Ok(()), |why| Err(ToolError(why)))
}

/// Returns what a person can do where a Debian package cannot be installed, to go behind a message.
/// Empty on a host with apt.
#[must_use]
pub fn without_apt() -> String {
    if exists("apt-get") {
        return String::new();
    }
    format!(
        "; on a host without apt, name a folder with Debian's programs in {} (docs/hosts.md says \
            how to make it)",
        debian::VARIABLE
    )
}

/// Runs the command to its end and returns its stdout.
///
/// # Errors
/// The program is missing, cannot be started, or ends with a code other than 0.
pub fn run(command: &mut Command) -> Result<String, ToolError> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let Output { status, stdout, stderr } = output.map_err(|e| not_started(command, &e))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&stderr);
    Err(failed(command, &status.to_string(), &stderr.lines().collect::<Vec<_>>()))
}

/// Runs the command to its end and calls `on_line` with each line of stderr as it comes.
///
/// # Errors
/// As for [`run`].
pub fn run_watched(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<(), ToolError> {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| not_started(command, &e))?;
    let mut lines = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            on_line(&line);
            lines.push(line);
        }
    }
    let status = child.wait().map_err(|e| not_started(command, &e))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(command, &status.to_string(), &lines.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn not_started(command: &Command, error: &std::io::Error) -> ToolError {
    let program = command.get_program().to_string_lossy();
    if error.kind() != std::io::ErrorKind::NotFound {
        return ToolError(format!("starting {program}: {error}"));
    }
    let package = PACKAGES
        .iter()
        .find(|(name, _)| *name == program)
        .map_or(&*program, |(_, package)| package);
    let instead = without_apt();
    ToolError(format!("{program} is not installed; install the Debian package {package}{instead}"))
}

fn failed(command: &Command, status: &str, stderr: &[&str]) -> ToolError {
    let shown = stderr.iter().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>();
    let last = &shown[shown.len().saturating_sub(LAST_WORDS)..];
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    // A person asks for the program, and not for the way to it.
    let enters = words.iter().position(|word| *word == debian::ENTER);
    let words = &words[enters.map_or(0, |at| at + debian::BEFORE)..];
    let words: Vec<_> = words.iter().map(|word| shortened(&word.to_string_lossy())).collect();
    let said = last.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" | ");
    ToolError(format!("{} ended with {status}: {said}", words.join(" ")))
}

/// Returns a short form of a word. A package list of 2 kB would hide the reason.
fn shortened(word: &str) -> String {
    match word.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_its_package() {
        let error = not_started(&command("veritysetup"), &std::io::ErrorKind::NotFound.into());
        assert_eq!(
            error.0,
            "veritysetup is not installed; install the Debian package cryptsetup-bin"
        );
    }

    #[test]
    fn a_failing_tool_is_quoted_with_its_command() {
        let error = run(command("sh").args(["-c", "echo first >&2; echo the reason >&2; exit 3"]))
            .unwrap_err();
        assert!(error.0.ends_with("ended with exit status: 3: first | the reason"), "{error}");
        assert!(error.0.starts_with("sh -c "), "{error}");
    }
}
