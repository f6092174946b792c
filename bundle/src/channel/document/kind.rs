//! The two kinds of signed documents.
//!
//! `root` and `channel` know what a document says, and `signed` knows how it is signed. A signature
//! on a document of one kind does not count on a document of the other.

use std::fmt;

use crate::value::limits;

/// The kind of a document. Each kind has its own domain, so a signature on one kind does not count
/// on the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The document says whose signatures count.
    Root,
    /// The document lists releases.
    Channel,
}

impl Kind {
    /// Returns the most bytes that such a document may have, signatures included.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Root => limits::ROOT,
            Self::Channel => limits::CHANNEL,
        }
    }

    /// Returns the text that stands in front of the document when it is signed.
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
