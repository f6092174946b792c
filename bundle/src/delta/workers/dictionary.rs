//! Reads the old blocks that a patch is made of.
//!
//! `old_images` reads the bytes. The blocks may differ from those that the delta expects; the hash
//! of the chunk tells in the end.

use image_layout::Disk;
use zstd::zstd_safe::DCtx;

use crate::BundleError;
use crate::delta::old_images::OldImages;
use crate::delta::records::patch::{Packing, Source};
use crate::delta::scratch::room;
use crate::delta::wire::wrong;

/// Returns the contents of `sources`, one after the other, in the memory of `content`. `packed` is
/// memory for a block as it lies in the image.
///
/// # Errors
/// The blocks cannot be read, or something else lies there.
pub(crate) fn read<'m, D: Disk>(
    old: &OldImages<D>,
    sources: &[Source],
    context: &mut DCtx<'_>,
    packed: &mut Vec<u8>,
    content: &'m mut Vec<u8>,
) -> Result<&'m [u8], BundleError> {
    // The reader of the patch compared all lengths with the limits.
    let content = room(content, sources.iter().map(|source| source.len as usize).sum());
    let mut rest = &mut *content;
    for source in sources {
        let (block, behind) = rest.split_at_mut(source.len as usize);
        rest = behind;
        match source.packing {
            Packing::Stored => old.read_at(source.image, block, source.offset)?,
            Packing::Zstd(_) => {
                let packed = room(packed, source.packed as usize);
                old.read_at(source.image, packed, source.offset)?;
                let length = context.decompress(block, packed).ok();
                length.filter(|length| *length == source.len as usize).ok_or_else(|| {
                    wrong("the running system is not the one that the delta is for")
                })?;
            }
        }
    }
    Ok(content)
}
