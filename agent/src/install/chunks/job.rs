//! One image of a bundle, and the partition that it goes to.
//!
//! `plan` says where the chunks come from, and `writer` writes them. A slot takes two jobs: its
//! boot image and its root image.

use crate::device::slot::target::SlotTarget;
use crate::exit::{Exit, Failure};

/// An image and the partition that it goes to.
pub(crate) struct Job {
    pub(crate) image: &'static str,
    pub(crate) target: SlotTarget,
}

impl Job {
    /// Returns the failure of a disk that returned `error` at `offset`, while `doing` something
    /// with it.
    pub(crate) fn disk_failure(&self, doing: &str, offset: u64, error: &std::io::Error) -> Failure {
        let path = self.target.path().display();
        Failure::new(
            Exit::SlotIo,
            format!("{doing} {path} at byte {offset}: {error}; is the disk failing?"),
        )
    }
}
