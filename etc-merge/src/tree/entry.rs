//! One entry of a tree as plain data.
//!
//! `node` reads it from a folder. Tests make it by hand, with owners that only root could give.

use std::collections::BTreeMap;

/// What a merge compares of an entry. Times are not compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// Type and content
    pub(crate) kind: Kind,
    /// Mode, owner, extended attributes
    pub meta: Meta,
}

/// Mode, owner, extended attributes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Meta {
    /// The permission bits (`0o7777`)
    pub mode: u32,
    /// Number of the owner
    pub uid: u32,
    /// Number of the group
    pub gid: u32,
    /// Without those of overlayfs
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Type and content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Folders are equal whatever is in them.
    Folder,
    /// A regular file
    File(Content),
    /// A symbolic link with its target
    Link(Vec<u8>),
    /// A device, a FIFO or a socket
    Special {
        /// The type, as in `st_mode`
        kind: u32,
        /// The number of a device, as in `st_rdev`
        device: u64,
    },
}

impl Kind {
    /// True if both are files, both are folders, and so on.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The type in words.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Folder => "a folder",
            Self::File(_) => "a file",
            Self::Link(_) => "a link",
            Self::Special { .. } => "a special file",
        }
    }
}

/// The content of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// All of it
    Bytes(Vec<u8>),
    /// Not in memory: too large ([`MAX_FILE`](crate::limits::MAX_FILE)), or equal in both images.
    /// Of the three sides of one path, those with equal content have equal numbers.
    Unread(u8),
}
