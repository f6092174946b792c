//! What is to be written, computed before anything is.
//!
//! `merge` computes it and `write` does it. The agent shows it.

use std::path::{Path, PathBuf};

use crate::report::Report;
use crate::tree::entry::Meta;
use crate::tree::marks::Marks;

/// The content of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A folder
    Folder,
    /// The content of the old upper's file of this path
    Mine,
    /// The content of the new image's file of this path
    Theirs,
    /// These bytes
    Merged(Vec<u8>),
    /// A symbolic link with this target
    Link(Vec<u8>),
    /// A device, a FIFO or a socket
    Special {
        /// The type, as in `st_mode`
        kind: u32,
        /// The number of a device, as in `st_rdev`
        device: u64,
    },
}

/// One entry of the new upper. Paths are below /etc. A folder comes before its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Makes an entry.
    Put {
        /// Where; the first action has the empty path
        path: PathBuf,
        /// What
        body: Body,
        /// Mode, owner and extended attributes
        meta: Meta,
    },
    /// Gives the entry of `first` another name: a hard link.
    Link {
        /// The new name
        path: PathBuf,
        /// The path of an earlier action
        first: PathBuf,
    },
    /// Hides the image's entry.
    Whiteout {
        /// Where
        path: PathBuf,
    },
    /// Copies what the old upper has here, with overlayfs's own marks, as it is.
    Copy {
        /// Where
        path: PathBuf,
    },
}

impl Action {
    /// Where the entry is, below /etc.
    pub fn path(&self) -> &Path {
        match self {
            Self::Put { path, .. }
            | Self::Link { path, .. }
            | Self::Whiteout { path }
            | Self::Copy { path } => path,
        }
    }
}

/// A merge that was computed and not yet written.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) report: Report,
    pub(crate) upper: PathBuf,
    pub(crate) theirs: PathBuf,
    pub(crate) marks: Marks,
}

impl Plan {
    /// What will be in the new upper, and nothing else.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// What the merge does with each path that the device has changed.
    pub fn report(&self) -> &Report {
        &self.report
    }
}
