//! The errors of making a disk image.
//!
//! The bundler gives each error an exit code. A message names the path or the program.

use std::io;
use std::path::{Path, PathBuf};

use crate::LayoutError;

/// Why an image could not be made. The failed attempt leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The disk cannot have the sizes asked for.
    #[error("cannot lay out the disk: {0}")]
    Layout(#[from] LayoutError),
    /// Content does not fit its partition.
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
    /// A program or a file of a Debian package is not there.
    #[error("cannot find {name}, needed to {purpose}: install Debian's package {package}")]
    MissingTool {
        /// Program or path
        name: String,
        /// What it is needed for
        purpose: &'static str,
        /// The package that has it
        package: &'static str,
    },
    /// A program of the host failed.
    #[error("cannot {purpose}: {command} {outcome}: {stderr}")]
    ToolFailed {
        /// What the program was run for
        purpose: &'static str,
        /// The command as it was run
        command: String,
        /// How the program ended
        outcome: String,
        /// The end of the program's error output
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
    /// Returns a closure for `map_err`. The error has the cause, and what was being done to which
    /// path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
