//! Why an image could not be made.
//!
//! The bundler gives each an exit code. A message names the path or the program.

use std::io;
use std::path::{Path, PathBuf};

use crate::LayoutError;

/// Why an image could not be made; nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The sizes asked for.
    #[error("cannot lay out the disk: {0}")]
    Layout(#[from] LayoutError),
    /// Content that does not fit.
    #[error(
        "cannot put {path} ({size} bytes) into partition {label} ({room} bytes): too large; make \
            {label} larger or the content smaller"
    )]
    TooLarge {
        /// The file, or a word for content that was made here
        path: String,
        /// Its size in bytes
        size: u64,
        /// The partition
        label: &'static str,
        /// Size of the partition in bytes
        room: u64,
    },
    /// A program or a file of Debian's that is needed is not there.
    #[error("cannot find {name}, needed to {purpose}: install Debian's package {package}")]
    MissingTool {
        /// Program or path
        name: String,
        /// What for
        purpose: &'static str,
        /// Who has it
        package: &'static str,
    },
    /// A program of the host failed.
    #[error("cannot {purpose}: {command} {outcome}: {stderr}")]
    ToolFailed {
        /// What for
        purpose: &'static str,
        /// The command as it was run
        command: String,
        /// How it ended
        outcome: String,
        /// The end of what it said
        stderr: String,
    },
    /// Reading or writing failed.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was being done
        doing: &'static str,
        /// The file
        path: PathBuf,
        /// The cause
        source: io::Error,
    },
}

impl ImageError {
    /// For `map_err`: the cause together with what was being done to which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
