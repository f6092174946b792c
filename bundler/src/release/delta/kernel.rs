//! The kernel in a boot image: one large zstd frame.
//!
//! `mix` makes the differences. The frame hides how little of its content has changed, so the
//! content is compared.

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

/// What is shorter than this is none that a device should spend its memory on.
const SHORTEST: usize = 1 << 20;

/// The largest zstd frame of a boot image.
#[derive(Debug)]
pub(crate) struct Kernel {
    packed: Vec<u8>,
    /// Where it lies in the image, bytes.
    pub(crate) place: Range<u64>,
}

impl Kernel {
    /// Looks for it. Where it begins and ends differs from architecture to architecture, so all of
    /// the image is looked at.
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

    /// The content, if a frame of the delta may have it.
    fn content(&self) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        let frame = zstd::stream::read::Decoder::with_buffer(&self.packed[..]).ok()?.single_frame();
        frame.take(u64::from(limits::FRAME) + 1).read_to_end(&mut content).ok()?;
        (1..=limits::FRAME as usize).contains(&content.len()).then_some(content)
    }
}

/// The record that makes the kernel `new` of the kernel `old`, packed, and the MiB that a device
/// needs for it; or why there is none.
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

/// Whether the device will come to the same bytes.
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
