//! The exit codes of `daruma`, and the error that carries one.
//!
//! `main` prints the error and exits. Scripts rely on exit codes, so a code never changes its
//! meaning.

use std::fmt;

use bundle::BundleError;

/// The exit codes of `daruma`. `docs/operating.md` documents them for users. A number never changes
/// its meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Something that no other code names.
    Unexpected = 1,
    /// The command line was not understood.
    Usage = 2,
    /// The file is no bundle, or it is torn or over-long.
    NotABundle = 10,
    /// No signature of a trusted key, or too few of them.
    Signature = 11,
    /// The content does not match its hashes.
    Content = 12,
    /// The bundle is for other devices.
    Compatible = 13,
    /// The version is below the floor.
    Floor = 14,
    /// An image is larger than its partition.
    TooLarge = 15,
    /// The manifest is invalid or contradicts the bundle.
    Manifest = 16,
    /// Refused because the running system is on trial.
    OnTrial = 17,
    /// Another process holds the lock.
    Locked = 18,
    /// Reading or writing the slot failed.
    SlotIo = 19,
    /// The boot environment cannot be read or written.
    Environment = 20,
    /// This very bundle failed on this device before.
    Quarantined = 21,
    /// The machine is not a Daruma device, or not a whole one.
    NotADevice = 22,
    /// The configuration is invalid.
    Config = 23,
    // 24 belongs to the bundler: a tool of the build host is missing or failed.
    /// The server cannot be reached, or a transfer makes no progress.
    Network = 25,
    /// The server's answers cannot be used: no ranges, another file than before, or lies.
    Server = 26,
    /// The install would fetch more than `byte-budget` allows.
    Budget = 27,
    /// The channel or its root document is not accepted: older than one seen before, expired,
    /// invalid, or not there.
    Channel = 28,
    // 29 belongs to the bundler: a system account has another number than before.
    /// A credential is refused: its name, its size, or the EFI system partition.
    Credential = 30,
    /// Stopped by Ctrl-C (128 + SIGINT).
    Interrupted = 130,
    /// Stopped by SIGTERM (128 + SIGTERM).
    Terminated = 143,
}

/// Why a command did not do what it was asked: an exit code and one line for a person.
///
/// The line names what was being done, to which path, the cause, and the remedy where there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// One line, without a newline at its end.
    pub message: String,
}

impl Failure {
    /// Returns a failure whose message is `message`, forced into one line.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: one_line(&message.to_string()) }
    }

    /// Returns the failure for a bundle's error while `doing` something.
    ///
    /// A web server knows why it could not be read and puts a failure of its own into the error.
    /// That failure is returned as it is.
    pub(crate) fn from_bundle(doing: &str, error: &BundleError) -> Self {
        if let BundleError::Read { source, .. } = error
            && let Some(failure) = source.get_ref().and_then(|cause| cause.downcast_ref::<Self>())
        {
            return failure.clone();
        }
        let exit = match error.exit_code() {
            10 => Exit::NotABundle,
            11 => Exit::Signature,
            12 => Exit::Content,
            13 => Exit::Compatible,
            14 => Exit::Floor,
            15 => Exit::TooLarge,
            16 => Exit::Manifest,
            23 => Exit::Config,
            _ => Exit::Unexpected,
        };
        Self::new(exit, format!("{doing}: {error}"))
    }
}

/// Returns `text` as one line without control characters. Whoever wrote a quoted part cannot move a
/// terminal's cursor.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let plain = |c: char| if c.is_control() { c.escape_debug().collect() } else { String::from(c) };
    line.chars().map(plain).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_always_one_line() {
        let failure = Failure::new(Exit::Config, "bad\n  thing\n");
        assert_eq!(failure.to_string(), "bad thing");
        assert_eq!(Failure::new(Exit::Config, "a\u{1b}[2Jb\rc").to_string(), "a\\u{1b}[2Jb\\rc");
    }
}
