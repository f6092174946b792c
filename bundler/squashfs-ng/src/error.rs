//! Why libsquashfs does not write an image.
//!
//! The writer knows what it was doing, and the caller adds the path. An error number of libsquashfs
//! is explained in `sqfs/error.h`.

use std::ffi::{NulError, c_int};
use std::io;
use std::num::TryFromIntError;

use crate::library::SQFS_ERROR_SQFS_ERROR_IO;

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or the image cannot be read or written.
    #[error("libsquashfs cannot {doing}")]
    Io {
        /// What libsquashfs was asked for.
        doing: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// libsquashfs refuses.
    #[error("libsquashfs cannot {doing} (its error {code}, of sqfs/error.h)")]
    Library {
        /// What libsquashfs was asked for.
        doing: String,
        /// A number of `sqfs/error.h`.
        code: i32,
    },
    /// libsquashfs makes no object of this kind.
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
    /// A name that Linux does not read.
    #[error("the name {0:?} has {len} bytes, and Linux reads at most 255", len = .0.len())]
    LongName(String),
    /// The calls do not make an image.
    #[error("{0}")]
    Misuse(&'static str),
}

/// What libsquashfs answered, if it is no error.
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
