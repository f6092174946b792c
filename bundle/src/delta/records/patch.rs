//! Some consecutive blocks of a new image, made of old blocks.
//!
//! `workers` read the old blocks and pack the new ones. A patch exists only after all its lengths
//! were compared with the limits.

use std::io::Read;

use crate::BundleError;
use crate::delta::limits;
use crate::delta::records::mix::PackedMix;
use crate::delta::wire::{array, bytes, u16, u32, wrong};

/// How the bytes of a block lie in an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// The bytes lie as they are.
    Stored,
    /// The bytes are one zstd frame, made at this level in one call and without a checksum, as
    /// libsquashfs does. The level of an old block does not matter.
    Zstd(u8),
}

/// A block of an old image, whose content is a part of the dictionary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// 0: boot, 1: root.
    pub image: u8,
    /// Where the block begins in the image, bytes.
    pub offset: u64,
    /// Bytes of the block in the image.
    pub packed: u32,
    /// Bytes of the block's content, at most [`limits::BLOCK`].
    pub len: u32,
    /// How the block lies in the image.
    pub packing: Packing,
}

/// A block of the new image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Output {
    /// Bytes of the block's content, 1 to [`limits::BLOCK`].
    pub len: u32,
    /// How the block is packed.
    pub packing: Packing,
}

/// Consecutive blocks of the new image, made of old ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch {
    /// The old blocks. Their contents, one after the other, are the dictionary.
    pub dictionary: Vec<Source>,
    /// The contents of the new blocks, as a mix with the dictionary.
    pub mix: PackedMix,
    /// The new blocks.
    pub outputs: Vec<Output>,
}

impl Patch {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), BundleError> {
        let Self { dictionary, mix, outputs } = self;
        let PackedMix { control, extra, add, packed } = mix;
        let shape = Shape {
            sources: dictionary.len(),
            outputs: outputs.len(),
            control: *control,
            extra: *extra,
            add: *add,
            packed: packed.len(),
        };
        shape.check()?;
        out.extend(
            [shape.sources, shape.outputs].map(|count| (count as u16).to_le_bytes()).as_flattened(),
        );
        let lengths = [shape.control, shape.extra, shape.add, shape.packed];
        out.extend(lengths.map(|len| (len as u32).to_le_bytes()).as_flattened());
        for Source { image, offset, packed, len, packing } in dictionary {
            out.extend([*image, packing.encode()]);
            out.extend(offset.to_le_bytes());
            out.extend([*packed, *len].map(u32::to_le_bytes).as_flattened());
        }
        for Output { len, packing } in outputs {
            out.push(packing.encode());
            out.extend(len.to_le_bytes());
        }
        out.extend(packed);
        Ok(())
    }

    pub(crate) fn read(from: &mut impl Read) -> Result<Self, BundleError> {
        let (sources, outputs) = (usize::from(u16(from)?), usize::from(u16(from)?));
        let mut lengths = [0; 4];
        for len in &mut lengths {
            *len = u32(from)? as usize;
        }
        let [control, extra, add, packed] = lengths;
        Shape { sources, outputs, control, extra, add, packed }.check()?;
        let dictionary = (0..sources).map(|_| Source::read(from)).collect::<Result<Vec<_>, _>>()?;
        let outputs = (0..outputs).map(|_| Output::read(from)).collect::<Result<Vec<_>, _>>()?;
        let sum =
            |mut lens: Box<dyn Iterator<Item = u32> + '_>| lens.try_fold(0u32, u32::checked_add);
        if sum(Box::new(dictionary.iter().map(|source| source.len)))
            .is_none_or(|len| len as usize > limits::DICTIONARY)
        {
            return Err(wrong("the dictionary of a patch is larger than 4 MiB"));
        }
        if sum(Box::new(outputs.iter().map(|output| output.len)))
            .is_none_or(|len| len as usize != extra + add)
        {
            return Err(wrong("the blocks of a patch are not what it makes"));
        }
        let packed = bytes(from, packed)?;
        Ok(Self { dictionary, mix: PackedMix { control, extra, add, packed }, outputs })
    }

    /// Returns true if the patch takes so much memory that nothing else should be made beside it.
    pub(crate) fn is_large(&self) -> bool {
        let old = self.dictionary.iter().map(|source| source.len);
        old.chain(self.outputs.iter().map(|output| output.len)).any(|len| len > limits::SMALL_BLOCK)
    }
}

/// The counts and lengths in front of a patch.
struct Shape {
    sources: usize,
    outputs: usize,
    control: usize,
    extra: usize,
    add: usize,
    packed: usize,
}

impl Shape {
    fn check(&self) -> Result<(), BundleError> {
        let Self { sources, outputs, control, extra, add, packed } = self;
        if *sources > limits::BLOCKS || *outputs > limits::BLOCKS || *outputs == 0 {
            return Err(wrong("a patch has no blocks or more than 4096"));
        }
        let made = extra.saturating_add(*add);
        if *control > limits::CONTROL || made > limits::CONTENT || made == 0 {
            return Err(wrong("a patch makes nothing or more than 1 MiB"));
        }
        if *packed > zstd::zstd_safe::compress_bound(control + made) {
            return Err(wrong("a patch is larger than what it makes"));
        }
        Ok(())
    }
}

impl Source {
    fn read(from: &mut impl Read) -> Result<Self, BundleError> {
        let [image, packing] = array(from)?;
        let offset = array(from).map(u64::from_le_bytes)?;
        let (packed, len) = (u32(from)?, u32(from)?);
        let packing = Packing::decode(packing)?;
        let is_bounded = image <= 1
            && (1..=limits::BLOCK).contains(&len)
            && match packing {
                Packing::Stored => packed == len,
                Packing::Zstd(_) => {
                    packed as usize <= zstd::zstd_safe::compress_bound(len as usize)
                }
            };
        if is_bounded {
            Ok(Self { image, offset, packed, len, packing })
        } else {
            Err(wrong("a block of a dictionary is empty, too large or of no image"))
        }
    }
}

impl Output {
    fn read(from: &mut impl Read) -> Result<Self, BundleError> {
        let [packing] = array(from)?;
        let (packing, len) = (Packing::decode(packing)?, u32(from)?);
        if (1..=limits::BLOCK).contains(&len) {
            Ok(Self { len, packing })
        } else {
            Err(wrong("a block is empty or larger than 1 MiB"))
        }
    }
}

impl Packing {
    /// Returns the byte that stands for the packing: 0, or the level.
    fn encode(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Zstd(level) => level,
        }
    }

    fn decode(byte: u8) -> Result<Self, BundleError> {
        match byte {
            0 => Ok(Self::Stored),
            1..=limits::LEVEL => Ok(Self::Zstd(byte)),
            _ => Err(wrong("a block is of a level above 19")),
        }
    }
}
