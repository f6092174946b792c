//! The kernel in a boot image: one large zstd frame.
//!
//! `mix` makes the differences. Two frames look very different although their contents have changed
//! little. The contents are therefore compared.

use std::io::Read;
use std::ops::Range;

use anyhow::{Context, Result};
use bundle::delta::{Frame, Record, Repacker, limits};
use image_layout::Disk;

use crate::host::progress::Progress;
use crate::release::delta::blocks::FRAME;
use crate::release::delta::mix::mix;
use crate::release::part::Part;
use image_layout::Amount;

/// Shortest frame. A shorter one is not worth a device's memory.
const SHORTEST: usize = 1 << 20;

/// The largest zstd frame of a boot image.
#[derive(Debug)]
pub(crate) struct Kernel {
    packed: Vec<u8>,
    /// Range of the frame in the image, in bytes.
    pub(crate) place: Range<u64>,
}

impl Kernel {
    /// Looks for the frame in the whole image, because its place differs between architectures.
    pub(crate) fn find(image: &Part) -> Result<Option<Self>> {
        let length =
            usize::try_from(image.size()?).context("a boot image is too large for this host")?;
        let mut bytes = vec![0; length];
        image.read_at(&mut bytes, 0)?;
        let mut found: Option<Range<usize>> = None;
        let mut from = 0;
        while let Some(start) =
            bytes[from..].windows(FRAME.len()).position(|window| window == FRAME)
        {
            let start = from + start;
            from = start + 1;
            let Ok(length) = zstd::zstd_safe::find_frame_compressed_size(&bytes[start..]) else {
                continue;
            };
            from = start + length.max(1);
            if length >= SHORTEST.max(found.as_ref().map_or(0, |found| found.len() + 1)) {
                found = Some(start..start + length);
            }
        }
        Ok(found.map(|found| Self {
            place: found.start as u64..found.end as u64,
            packed: bytes[found].to_vec(),
        }))
    }

    /// Returns the content, if it is not too large for a delta.
    fn content(&self) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let frame = zstd::stream::read::Decoder::with_buffer(&self.packed[..]).ok()?.single_frame();
        frame.take(u64::from(limits::FRAME) + 1).read_to_end(&mut content).ok()?;
        (1..=limits::FRAME as usize).contains(&content.len()).then_some(content)
    }
}

/// Returns the record that makes the kernel `new` from the kernel `old`, and the memory in MiB that
/// a device needs for it. The record is packed. The inner error says why there is no record.
pub(crate) fn record(
    old: Option<&Kernel>,
    new: Option<&Kernel>,
) -> Result<Result<(Vec<u8>, u32), String>> {
    let why = |why: &str| Ok(Err(why.to_owned()));
    let (Some(old), Some(new)) = (old, new) else {
        return why("a boot image has no zstd frame of 1 MiB or more");
    };
    if old.packed == new.packed {
        return why("it is the same in both");
    }
    let (Some(old_content), Some(new_content)) = (old.content(), new.content()) else {
        return why("its payload cannot be unpacked or is larger than 128 MiB");
    };
    if !is_made_again(&new_content, &new.packed)? {
        return why("this program's zstd at level 22 does not make its frame again");
    }
    let progress = Progress::steps("Comparing the kernels' payloads", 1);
    let mix = mix(&old_content, &new_content)?;
    let (packed, len) = (u32::try_from(old.packed.len())?, u32::try_from(old_content.len())?);
    let frame = Frame { image: 0, offset: old.place.start, packed, len, mix };
    let memory = limits::MEMORY + frame.memory();
    let record = Record::Frame(frame).encode()?;
    progress.done(&format!(
        "{} for {}",
        Amount(record.len() as u64),
        Amount(new.packed.len() as u64)
    ));
    Ok(Ok((record, memory)))
}

/// Returns true if the device will make the same bytes.
fn is_made_again(content: &[u8], packed: &[u8]) -> Result<bool> {
    let progress = Progress::bytes("Compressing the kernel again", packed.len() as u64);
    let mut repacker = Repacker::new(content)?;
    let (mut made, mut rest) = (Vec::new(), packed);
    loop {
        made.clear();
        let goes_on = repacker.more(&mut made)?;
        let Some(behind) = rest.strip_prefix(&made[..]) else {
            progress.done("other bytes than the kernel's");
            return Ok(false);
        };
        progress.advance(made.len() as u64);
        rest = behind;
        if !goes_on {
            progress.done("the same bytes");
            return Ok(rest.is_empty());
        }
    }
}
