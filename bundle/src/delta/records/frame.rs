//! A large zstd frame of the new image, made of the content of an old one: the kernel.
//!
//! Compressing the new content is left to `repack`. A frame needs much memory, so a device must
//! have agreed to it.

use std::io::Read;

use image_layout::Disk;

use crate::BundleError;
use crate::delta::limits;
use crate::delta::old_images::OldImages;
use crate::delta::records::mix::{Mix, mix};
use crate::delta::wire::{BODY_LEVEL, array, bytes, packing, u32, u64, unpack, wrong};

/// A new frame, made of an old one. `zstd -22 --ultra` has made both of what came through a pipe
/// ([`crate::delta::Repacker`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The old one's image. 0: boot, 1: root.
    pub image: u8,
    /// Where the old one begins in its image, bytes.
    pub offset: u64,
    /// Bytes that it has there.
    pub packed: u32,
    /// Bytes of its content, 1 to [`limits::FRAME`].
    pub len: u32,
    /// The new one's content in terms of that.
    pub mix: Mix,
}

impl Frame {
    /// MiB of memory that making it takes, besides [`limits::MEMORY`].
    #[must_use]
    pub fn memory(&self) -> u32 {
        self.shape([0; 3]).memory()
    }

    fn shape(&self, packed_streams: [u32; 3]) -> Shape {
        let Self { image, offset, packed, len, mix } = self;
        // What is longer than a u32 can say is beyond its limit all the same.
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

    /// The content of the new frame.
    ///
    /// # Errors
    /// The old one is not what the record says, or the streams do not fit it.
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

/// The numbers in front of a frame's streams: all that is asked before anything is reserved.
struct Shape {
    image: u8,
    offset: u64,
    packed: u32,
    len: u32,
    /// Bytes of control, extra and add.
    streams: [u32; 3],
    /// The same, packed.
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

    /// MiB, rounded up. First the streams, the old content (or what is packed) and the new one are
    /// held at a time; then, when all of those but the new one are gone, what compresses it.
    fn memory(&self) -> u32 {
        let [control, extra, add] = self.streams.map(u64::from);
        let (old, new) = (u64::from(self.len), extra + add);
        let packed = self.packed_streams.map(u64::from).into_iter().max().unwrap_or(0);
        let making = control + new + old + new.max(u64::from(self.packed)).max(packed);
        let compressing = 2 * new + limits::TABLES;
        u32::try_from(making.max(compressing).div_ceil(1 << 20)).unwrap_or(u32::MAX)
    }
}
