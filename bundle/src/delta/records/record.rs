//! The steps of a delta, as they follow its header.
//!
//! `patch` and `frame` have their own forms, and `wire` reads the numbers. The steps make the boot
//! image and then the root image, without a gap.

use std::io::Read;

use crate::BundleError;
use crate::delta::limits;
use crate::delta::records::frame::Frame;
use crate::delta::records::patch::Patch;
use crate::delta::wire::{BODY_LEVEL, array, bytes, packing, u32, u64, unpack, wrong};

/// One step. Together the steps make the boot image and then the root image, from the first byte to
/// the last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// The next `len` bytes are those of old image `image` from `offset`.
    Copy {
        /// 0: boot, 1: root.
        image: u8,
        /// Where the bytes begin in the old image.
        offset: u64,
        /// How many bytes, not 0.
        len: u64,
    },
    /// The next bytes, 1 to [`limits::LITERAL`].
    Literal(Vec<u8>),
    /// The next blocks are made of old blocks.
    Patch(Patch),
    /// The next bytes are the dm-verity tree of the image as far as the delta has made it. The new
    /// manifest has the salt.
    Tree,
    /// The next bytes are a large zstd frame, made of an old frame.
    Frame(Frame),
}

const COPY: u8 = 1;
const LITERAL: u8 = 2;
const PATCH: u8 = 3;
const TREE: u8 = 4;
const FRAME: u8 = 5;

impl Record {
    /// Returns the record's bytes.
    ///
    /// # Errors
    /// The record is beyond a limit.
    pub fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let mut out = Vec::new();
        match self {
            Self::Copy { image, offset, len } => {
                out.extend([COPY, *image]);
                out.extend([offset.to_le_bytes(), len.to_le_bytes()].as_flattened());
            }
            Self::Literal(bytes) => {
                let len = u32::try_from(bytes.len())
                    .ok()
                    .filter(|len| (1..=limits::LITERAL).contains(len));
                let len = len.ok_or_else(|| wrong("a literal is empty or larger than 1 MiB"))?;
                let mut packed = zstd::bulk::compress(bytes, BODY_LEVEL).map_err(packing)?;
                if packed.len() >= bytes.len() {
                    packed.clone_from(bytes);
                }
                out.push(LITERAL);
                out.extend([len, packed.len() as u32].map(u32::to_le_bytes).as_flattened());
                out.extend(packed);
            }
            Self::Patch(patch) => {
                out.push(PATCH);
                patch.encode(&mut out)?;
            }
            Self::Tree => out.push(TREE),
            Self::Frame(frame) => {
                out.push(FRAME);
                frame.encode(&mut out)?;
            }
        }
        Ok(out)
    }

    /// Reads the next record, for a device that grants `memory` MiB.
    ///
    /// # Errors
    /// The bytes cannot be read or are no record, or the record is beyond a limit or needs more
    /// memory than that.
    pub fn read(from: &mut impl Read, memory: u32) -> Result<Self, BundleError> {
        let [kind] = array(from)?;
        match kind {
            COPY => {
                let [image] = array(from)?;
                let (offset, len) = (u64(from)?, u64(from)?);
                if image > 1 || len == 0 {
                    return Err(wrong("a copy of nothing"));
                }
                Ok(Self::Copy { image, offset, len })
            }
            LITERAL => {
                let (len, packed) = (u32(from)?, u32(from)?);
                if len == 0 || len > limits::LITERAL || packed > len {
                    return Err(wrong("a literal is empty or larger than 1 MiB"));
                }
                let bytes = bytes(from, packed as usize)?;
                if packed == len {
                    return Ok(Self::Literal(bytes));
                }
                Ok(Self::Literal(unpack(&bytes, len as usize)?))
            }
            PATCH => Ok(Self::Patch(Patch::read(from)?)),
            TREE => Ok(Self::Tree),
            FRAME => Ok(Self::Frame(Frame::read(from, memory)?)),
            _ => Err(wrong("it has a step of an unknown kind")),
        }
    }
}
