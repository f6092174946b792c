//! A large zstd frame of the new image, made of the content of an old frame: the kernel.
//!
//! `repack` compresses the new content. A frame needs much memory, so a device must have agreed to
//! it.

use std::io::Read;

use image_layout::Disk;

use crate::BundleError;
use crate::delta::limits;
use crate::delta::old_images::OldImages;
use crate::delta::records::mix::{Mix, mix};
use crate::delta::wire::{BODY_LEVEL, array, bytes, packing, u32, u64, unpack, wrong};

/// A new frame, made of an old one. `zstd -22 --ultra` made both frames of what came through a pipe
/// ([`crate::delta::Repacker`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The image of the old frame. 0: boot, 1: root.
    pub image: u8,
    /// Where the old frame begins in its image, bytes.
    pub offset: u64,
    /// Bytes of the old frame in its image.
    pub packed: u32,
    /// Bytes of the old frame's content, 1 to [`limits::FRAME`].
    pub len: u32,
    /// The new frame's content, as a mix with the old content.
    pub mix: Mix,
}

impl Frame {
    /// Returns the MiB of memory that making the frame takes, besides [`limits::MEMORY`].
    #[must_use]
    pub fn memory(&self) -> u32 {
        self.shape([0; 3]).memory()
    }

    fn shape(&self, packed_streams: [u32; 3]) -> Shape {
        let Self { image, offset, packed, len, mix } = self;
        // A length beyond a u32 is beyond its limit too, so `u32::MAX` may stand for it.
        let streams = [&mix.control, &mix.extra, &mix.add]
            .map(|stream| u32::try_from(stream.len()).unwrap_or(u32::MAX));
        Shape {
            image: *image,
            offset: *offset,
            packed: *packed,
            len: *len,
            streams,
            packed_streams,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), BundleError> {
        let mut packed = Vec::new();
        for stream in [&self.mix.control, &self.mix.extra, &self.mix.add] {
            packed.push(zstd::bulk::compress(stream, BODY_LEVEL).map_err(packing)?);
        }
        let mut lengths = [0; 3];
        for (len, packed) in lengths.iter_mut().zip(&packed) {
            *len = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        }
        let shape = self.shape(lengths);
        shape.check()?;
        out.push(shape.image);
        out.extend(shape.offset.to_le_bytes());
        out.extend([shape.packed, shape.len].map(u32::to_le_bytes).as_flattened());
        out.extend(
            [shape.streams, shape.packed_streams]
                .as_flattened()
                .iter()
                .flat_map(|len| len.to_le_bytes()),
        );
        packed.iter().for_each(|stream| out.extend(stream));
        Ok(())
    }

    pub(crate) fn read(from: &mut impl Read, memory: u32) -> Result<Self, BundleError> {
        let shape = Shape::read(from)?;
        shape.check()?;
        let needed = limits::MEMORY + shape.memory();
        if needed > memory {
            return Err(wrong(&format!(
                "a frame takes {needed} MiB of memory, and the header says {memory}"
            )));
        }
        let mut streams = [const { Vec::new() }; 3];
        for (index, stream) in streams.iter_mut().enumerate() {
            let packed = bytes(from, shape.packed_streams[index] as usize)?;
            *stream = unpack(&packed, shape.streams[index] as usize)?;
        }
        let [control, extra, add] = streams;
        let Shape { image, offset, packed, len, .. } = shape;
        Ok(Self { image, offset, packed, len, mix: Mix { control, extra, add } })
    }

    /// Returns the content of the new frame.
    ///
    /// # Errors
    /// The old frame is not what the record says, or the streams do not fit it.
    pub(crate) fn apply<D: Disk>(&self, old: &OldImages<D>) -> Result<Vec<u8>, BundleError> {
        let mut packed = vec![0; self.packed as usize];
        old.read_at(self.image, &mut packed, self.offset)?;
        let old = unpack(&packed, self.len as usize)
            .map_err(|_| wrong("the running system is not the one that the delta is for"))?;
        drop(packed);
        let Mix { control, extra, add } = &self.mix;
        let mut content = Vec::with_capacity(extra.len() + add.len());
        mix(&old, control, extra, add, &mut content)?;
        Ok(content)
    }
}

/// The numbers in front of a frame's streams. They suffice for every check before memory is
/// reserved.
struct Shape {
    image: u8,
    offset: u64,
    packed: u32,
    len: u32,
    /// Bytes of control, extra and add, unpacked.
    streams: [u32; 3],
    /// Bytes of control, extra and add, packed.
    packed_streams: [u32; 3],
}

impl Shape {
    fn read(from: &mut impl Read) -> Result<Self, BundleError> {
        let [image] = array(from)?;
        let (offset, packed, len) = (u64(from)?, u32(from)?, u32(from)?);
        let mut lengths = [0; 6];
        for length in &mut lengths {
            *length = u32(from)?;
        }
        let [control, extra, add, packed_streams @ ..] = lengths;
        Ok(Self { image, offset, packed, len, streams: [control, extra, add], packed_streams })
    }

    fn check(&self) -> Result<(), BundleError> {
        let [control, extra, add] = self.streams;
        let is_bounded = |packed: u32, len: u32| {
            packed as usize <= zstd::zstd_safe::compress_bound(len as usize)
        };
        let sizes = [self.len, extra.saturating_add(add)];
        if self.image > 1
            || !sizes.iter().all(|len| (1..=limits::FRAME).contains(len))
            || control > limits::FRAME_CONTROL
        {
            return Err(wrong("a frame is empty, larger than 128 MiB or of no image"));
        }
        if !is_bounded(self.packed, self.len)
            || !self
                .packed_streams
                .iter()
                .zip(self.streams)
                .all(|(packed, len)| is_bounded(*packed, len))
        {
            return Err(wrong("a frame or its streams are larger packed than unpacked"));
        }
        Ok(())
    }

    /// Returns the MiB of memory, rounded up. First the streams, the old content (or what is
    /// packed) and the new content are in memory together. Then only the new content remains,
    /// besides the memory of the compressor.
    fn memory(&self) -> u32 {
        let [control, extra, add] = self.streams.map(u64::from);
        let (old, new) = (u64::from(self.len), extra + add);
        let packed = self.packed_streams.map(u64::from).into_iter().max().unwrap_or(0);
        let making = control + new + old + new.max(u64::from(self.packed)).max(packed);
        let compressing = 2 * new + limits::TABLES;
        u32::try_from(making.max(compressing).div_ceil(1 << 20)).unwrap_or(u32::MAX)
    }
}
