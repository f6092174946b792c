//! Packs new blocks again as a device will, and counts what that costs.
//!
//! `groups` asks for each changed block. Only a block that comes out the same can be made from old
//! blocks; a delta carries the others as they are.

use std::time::{Duration, Instant};

use anyhow::Result;
use bundle::delta::{Output, Packing, Recompressor};

use crate::release::delta::blocks::is_xz;

/// The highest zstd level at which a device packs blocks again. The format allows
/// [`bundle::delta::limits::LEVEL`], but a device then takes seconds for some megabytes.
pub(crate) const FAST: u8 = 4;

/// What a device packs again, and what it cannot pack.
#[derive(Debug, Default)]
pub(crate) struct PackedAgain {
    /// The zstd levels of the new images, the lowest and fastest first.
    levels: Vec<u8>,
    recompressor: Recompressor,
    packed: Vec<u8>,
    /// Unpacked bytes of the blocks that come out the same, and the time that this took on one
    /// processor.
    pub(crate) done: (u64, Duration),
    /// Packed bytes of blocks that no device packs again: xz, or a level above [`FAST`].
    pub(crate) whole: u64,
    /// Packed bytes of blocks that this program's zstd does not make again.
    pub(crate) strange: u64,
}

impl PackedAgain {
    /// Returns the counts at their beginning, for images with blocks of these zstd levels.
    pub(crate) fn new(levels: Vec<u8>) -> Self {
        Self { levels, ..Self::default() }
    }

    /// Returns how a device makes the block of this content, which lies `packed` in the image if
    /// that is a zstd frame. `None`: the delta must carry the block.
    pub(crate) fn packing(
        &mut self,
        content: &[u8],
        packed: Option<&[u8]>,
    ) -> Result<Option<Packing>> {
        let Some(packed) = packed else {
            let is_xz = is_xz(content);
            self.whole += if is_xz { content.len() as u64 } else { 0 };
            return Ok((!is_xz).then_some(Packing::Stored));
        };
        for &level in self.levels.iter().filter(|level| **level <= FAST) {
            let begun = Instant::now();
            let packing = Packing::Zstd(level);
            let output = Output { len: u32::try_from(content.len())?, packing };
            self.packed.clear();
            self.recompressor.pack(content, &[output], &mut self.packed)?;
            if self.packed == packed {
                let (bytes, time) = &mut self.done;
                (*bytes, *time) = (*bytes + content.len() as u64, *time + begun.elapsed());
                return Ok(Some(packing));
            }
        }
        let is_high = self.levels.iter().any(|level| *level > FAST);
        *(if is_high { &mut self.whole } else { &mut self.strange }) += packed.len() as u64;
        Ok(None)
    }
}
