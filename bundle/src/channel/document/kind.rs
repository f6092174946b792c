//! The two kinds of signed documents.
//!
//! What a document says is in `root` and `channel`, and how it is signed in `signed`. A signature
//! on a document of one kind is none on a document of the other.

use std::fmt;

use crate::value::limits;

/// Which document. Each has a domain of its own, so that a signature on one is none on another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Says whose signatures count.
    Root,
    /// Lists releases.
    Channel,
}

impl Kind {
    /// Most bytes of such a document, signatures included.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Root => limits::ROOT,
            Self::Channel => limits::CHANNEL,
        }
    }

    /// What is signed in front of the document.
    pub(crate) fn domain(self) -> &'static [u8] {
        match self {
            Self::Root => b"daruma root v1\n",
            Self::Channel => b"daruma channel v1\n",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root document",
            Self::Channel => "channel",
        })
    }
}
