//! The two images of the system that a device runs, as the source of old bytes.
//!
//! The records say which bytes a delta wants. An image may be shorter than a record says: then the
//! delta is for another system.

use std::io::ErrorKind;

use image_layout::Disk;

use crate::BundleError;
use crate::delta::wire::wrong;

/// The two images that a delta starts from. Each image lies at the beginning of a disk.
#[derive(Debug)]
pub struct OldImages<D> {
    /// The boot image.
    pub boot: D,
    /// The root image.
    pub root: D,
}

impl<D: Disk> OldImages<D> {
    /// Fills `buf` from `offset` of image 0 (boot) or 1 (root).
    pub(super) fn read_at(
        &self,
        image: u8,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(), BundleError> {
        let disk = if image == 0 { &self.boot } else { &self.root };
        disk.read_at(buf, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::InvalidInput => {
                wrong("it reaches beyond the running system")
            }
            _ => BundleError::read("a block of the running system")(error),
        })
    }
}
