//! The blocks of images: where they lie, and what they hold.
//!
//! `squash` knows where the blocks of a SquashFS lie, and `similar` finds blocks that are alike. A
//! block is the unit that a device packs again.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result};
use bundle::delta::{Packing, Source, limits};
use bundle::{Sha256, SlotChunks, StoredSquashfs, Verity, verity_tree_size};
use image_layout::Disk;

use crate::bundling::squash::blocks;
use crate::host::progress::Progress;
use crate::release::delta::similar::Similar;
use crate::release::part::Part;

/// The first bytes of a zstd frame.
pub(crate) const FRAME: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// Size of a piece, in bytes. The parts that are no blocks of a SquashFS are cut into such pieces.
const PIECE: u64 = 128 << 10;
/// The first bytes of an xz stream.
const XZ: [u8; 6] = *b"\xfd7zXZ\0";

/// A piece of an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Content of files, which may be compressed.
    Data,
    /// The whole dm-verity tree.
    Tree,
}

impl Block {
    /// Returns all blocks of an image, in order. No block crosses the beginning or the end of
    /// `frame`.
    pub(crate) fn all(
        image: &Part,
        verity: Option<&Verity>,
        frame: Option<&Range<u64>>,
    ) -> Result<Vec<Self>> {
        let size = image.size()?;
        let tree = verity.map_or(0, |verity| verity_tree_size(verity.size));
        let tree = if (1..=limits::TREE).contains(&tree) { tree } else { 0 };
        let data = verity.filter(|_| tree > 0).map_or(size, |verity| verity.size);
        let (mut cuts, is_root) = match StoredSquashfs::list(image) {
            Ok(files) => (SlotChunks::boot_boundaries(image, &files)?, false),
            // A root image is a compressed SquashFS, which `blocks` reads. An image of a test may
            // be no SquashFS at all, and then has no cuts.
            Err(_) => (blocks::read(image).unwrap_or_default(), true),
        };
        cuts.extend(frame.iter().flat_map(|frame| [frame.start, frame.end]));
        let is_packed = |offset: u64| -> Result<bool> {
            let mut bytes = [0; XZ.len()];
            image.read_at(&mut bytes, offset)?;
            Ok(bytes.starts_with(&FRAME) || is_xz(&bytes))
        };
        let mut blocks = Vec::new();
        let mut offset = 0;
        let mut pieces = |offset: &mut u64, end: u64, most: u64, kind| {
            while *offset < end {
                // At most 1 MiB, or the limit of a tree.
                let len = (end - *offset).min(most) as u32;
                blocks.push(Self { offset: *offset, len, kind });
                *offset += u64::from(len);
            }
        };
        for &end in cuts.range(..data).chain([&data]) {
            // A packed block of a SquashFS can have up to 1 MiB. It is of no use in pieces.
            let is_block = is_root && end.saturating_sub(offset) > PIECE && is_packed(offset)?;
            let most = if is_block { limits::BLOCK.into() } else { PIECE };
            pieces(&mut offset, end, most, Kind::Data);
        }
        pieces(&mut offset, data + tree, limits::TREE, Kind::Tree);
        pieces(&mut offset, size, PIECE, Kind::Data);
        Ok(blocks)
    }

    /// Returns the bytes of the block as they lie in the image.
    pub(crate) fn read(&self, image: &Part) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len as usize];
        image.read_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// Returns the unpacked content of a block, and whether it was a zstd frame.
pub(crate) fn content(bytes: Vec<u8>) -> (Vec<u8>, bool) {
    if bytes.starts_with(&FRAME)
        && let Ok(content) = zstd::bulk::decompress(&bytes, limits::BLOCK as usize)
        && !content.is_empty()
    {
        return (content, true);
    }
    (bytes, false)
}

/// Returns true for an xz stream. A device has no xz, so it cannot pack such a block again.
pub(crate) fn is_xz(bytes: &[u8]) -> bool {
    bytes.starts_with(&XZ)
}

/// The blocks of the old images.
#[derive(Debug)]
pub(crate) struct OldBlocks {
    /// The blocks that a dictionary can be made from.
    pub(crate) sources: Vec<Source>,
    /// Where the bytes of this hash lie: image and offset.
    pub(crate) places: HashMap<Sha256, (u8, u64)>,
    pub(crate) similar: Similar,
}

impl OldBlocks {
    pub(crate) fn read(images: &[Part; 2], frame: Option<&Range<u64>>) -> Result<Self> {
        let total = images.iter().map(|image| image.size().unwrap_or(0)).sum();
        let progress = Progress::bytes("Reading the old bundle", total);
        let (mut sources, mut places, mut similar) =
            (Vec::new(), HashMap::new(), Similar::default());
        for (image, part) in (0..).zip(images) {
            for block in Block::all(part, None, frame.filter(|_| image == 0))? {
                let bytes = block.read(part).context("reading the old bundle")?;
                progress.advance(bytes.len() as u64);
                places.entry(Sha256::of(&bytes)).or_insert((image, block.offset));
                let (content, is_packed) = content(bytes);
                // The level of an old block does not matter.
                let packing = if is_packed { Packing::Zstd(1) } else { Packing::Stored };
                similar.add(sources.len() as u32, &content); // a bundle has less than 2^28 pieces
                let len = content.len() as u32; // at most 1 MiB
                sources.push(Source {
                    image,
                    offset: block.offset,
                    packed: block.len,
                    len,
                    packing,
                });
            }
        }
        similar.finish();
        progress.done(&format!("{} blocks", sources.len()));
        Ok(Self { sources, places, similar })
    }
}
