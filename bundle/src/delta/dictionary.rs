//! Reading old blocks.

use image_layout::Disk;

use super::apply::OldImages;
use super::patch::{Packing, Source};
use super::record::wrong;
use crate::BundleError;

/// Puts the contents of `sources` into `out`, one after the other. `packed` is memory for the blocks as they lie.
pub(super) fn read<D: Disk>(
    old: &OldImages<D>,
    sources: &[Source],
    packed: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), BundleError> {
    out.clear();
    // Both lengths were held against the limits when the patch was read.
    out.reserve(sources.iter().map(|source| source.len as usize).sum());
    for source in sources {
        packed.resize(source.packed as usize, 0);
        old.read_at(source.image, packed, source.offset)?;
        let before = out.len();
        match source.packing {
            Packing::Stored => out.extend_from_slice(packed),
            Packing::Zstd(_) => {
                let content = super::record::unpack(packed, source.len as usize)
                    .map_err(|_| wrong("the running system is not the one that the delta is for"))?;
                out.extend_from_slice(&content);
            }
        }
        debug_assert_eq!(out.len() - before, source.len as usize);
    }
    Ok(())
}
