//! Reading old blocks.

use image_layout::Disk;
use zstd::zstd_safe::DCtx;

use super::apply::OldImages;
use super::patch::{Packing, Source};
use super::record::wrong;
use crate::BundleError;

/// Puts the contents of `sources` into `content`, one after the other. `packed` is memory for a block as it lies.
///
/// # Errors
/// They cannot be read, or what lies there is something else.
pub(super) fn read<D: Disk>(
    old: &OldImages<D>,
    sources: &[Source],
    context: &mut DCtx<'_>,
    packed: &mut Vec<u8>,
    content: &mut Vec<u8>,
) -> Result<(), BundleError> {
    // All lengths were held against the limits when the patch was read.
    content.resize(sources.iter().map(|source| source.len as usize).sum(), 0);
    let mut rest = &mut content[..];
    for source in sources {
        let (block, behind) = rest.split_at_mut(source.len as usize);
        rest = behind;
        match source.packing {
            Packing::Stored => old.read_at(source.image, block, source.offset)?,
            Packing::Zstd(_) => {
                packed.resize(source.packed as usize, 0);
                old.read_at(source.image, packed, source.offset)?;
                let length = context.decompress(block, packed).ok();
                length
                    .filter(|length| *length == source.len as usize)
                    .ok_or_else(|| wrong("the running system is not the one that the delta is for"))?;
            }
        }
    }
    Ok(())
}
