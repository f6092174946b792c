//! The errors of writing an image with libsquashfs.
//!
//! The writer says what it was doing, and the caller adds the path. `sqfs/error.h` explains the
//! error numbers of libsquashfs.

use std::ffi::{NulError, c_int};
use std::io;
use std::num::TryFromIntError;

use crate::library::SQFS_ERROR_SQFS_ERROR_IO;

/// The reason why an image cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or the image cannot be read or written.
    #[error("libsquashfs cannot {doing}")]
    Io {
        /// The task that libsquashfs was given.
        doing: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// libsquashfs refuses the task.
    #[error("libsquashfs cannot {doing} (its error {code}, of sqfs/error.h)")]
    Library {
        /// The task that libsquashfs was given.
        doing: String,
        /// An error number of `sqfs/error.h`.
        code: i32,
    },
    /// libsquashfs cannot make an object of this kind.
    #[error("libsquashfs makes no {what}: {why}")]
    NoObject {
        /// The kind of object.
        what: &'static str,
        /// What the kernel answered.
        why: io::Error,
    },
    /// The content of a file cannot be read, or the image cannot be cut.
    #[error(transparent)]
    Content(#[from] io::Error),
    /// A name or a path holds a zero byte.
    #[error(transparent)]
    Nul(#[from] NulError),
    /// A number does not fit into the form of SquashFS.
    #[error(transparent)]
    Large(#[from] TryFromIntError),
    /// The numbers of a device do not fit into the form of SquashFS.
    #[error("there is no device {0}:{1}")]
    NoDevice(u32, u32),
    /// A name that is too long for Linux.
    #[error("the name {0:?} has {len} bytes, and Linux reads at most 255", len = .0.len())]
    LongName(String),
    /// The calls, in this order, do not make an image.
    #[error("{0}")]
    Misuse(&'static str),
}

/// Returns what libsquashfs answered, or its error.
pub(crate) fn done(doing: &str, answer: c_int) -> Result<c_int, Error> {
    let doing = || doing.to_owned();
    match answer {
        0.. => Ok(answer),
        SQFS_ERROR_SQFS_ERROR_IO => {
            Err(Error::Io { doing: doing(), source: io::Error::last_os_error() })
        }
        code => Err(Error::Library { doing: doing(), code }),
    }
}
