//! Why a merge was given up.
//!
//! Trouble with a single path is no error: that path is in the report, and the merge goes on.

use std::io;
use std::path::{Path, PathBuf};

/// Why the whole merge was given up. The answer to each is [`mine_wins`](crate::mine_wins).
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no base: the old image was overwritten.
    #[error("the old image is gone, so nobody knows what was changed")]
    NoBase,
    /// The caller's heartbeat said that the time is over.
    #[error("the time for the merge is over")]
    OutOfTime,
    /// A limit of [`limits`](crate::limits).
    #[error("{what}: at most {most}")]
    Limit {
        /// What there is too much of
        what: &'static str,
        /// The limit
        most: u64,
    },
    /// A folder or file cannot be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done, such as "reading"
        doing: &'static str,
        /// The file or folder
        path: PathBuf,
        /// The reason
        source: io::Error,
    },
}

impl Error {
    /// Returns a function that gives an I/O error its context.
    pub(crate) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}
