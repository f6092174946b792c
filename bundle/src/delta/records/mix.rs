//! New bytes as old bytes with differences: the form of bsdiff.
//!
//! The bundler finds the old bytes that fit.
//!
//! A move of code by a few bytes changes the addresses in it and little else. So the difference of
//! new and old is nearly all zeros, and compresses to nearly nothing. A compressor that looks for
//! equal strings finds only short ones.

use zstd::zstd_safe::DCtx;

use crate::BundleError;
use crate::delta::scratch::room;
use crate::delta::wire::{BODY_LEVEL, packing, wrong};

/// The three streams of bsdiff, not compressed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mix {
    /// Three numbers in LEB128 for each step. The first counts the bytes that are a sum, the second
    /// counts the bytes that are taken as they are. The third is how far the place in the old bytes
    /// moves then (zigzag).
    pub control: Vec<u8>,
    /// The bytes that are taken as they are.
    pub extra: Vec<u8>,
    /// The bytes that are added to the old bytes, modulo 256.
    pub add: Vec<u8>,
}

impl Mix {
    /// Adds a step. `add` holds the differences to the old bytes, and `extra` the bytes that
    /// follow. The place in the old bytes moves by `seek` afterwards.
    pub fn push(&mut self, add: &[u8], extra: &[u8], seek: i64) {
        self.add.extend_from_slice(add);
        self.extra.extend_from_slice(extra);
        number(&mut self.control, add.len() as u64);
        number(&mut self.control, extra.len() as u64);
        number(&mut self.control, ((seek << 1) ^ (seek >> 63)) as u64);
    }

    /// Returns the streams, compressed together.
    ///
    /// # Errors
    /// zstd fails.
    pub fn pack(&self) -> Result<PackedMix, BundleError> {
        let Self { control, extra, add } = self;
        let packed = zstd::bulk::compress(&[&control[..], extra, add].concat(), BODY_LEVEL);
        let packed = packed.map_err(packing)?;
        Ok(PackedMix { control: control.len(), extra: extra.len(), add: add.len(), packed })
    }
}

/// A [`Mix`] as it lies in a delta: the three streams, one after the other, as one zstd frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedMix {
    /// Bytes of each stream.
    pub(crate) control: usize,
    pub(crate) extra: usize,
    pub(crate) add: usize,
    pub(crate) packed: Vec<u8>,
}

impl PackedMix {
    /// Returns the number of new bytes that the mix makes.
    #[must_use]
    pub fn made(&self) -> usize {
        self.extra.saturating_add(self.add)
    }

    /// Puts the new bytes into `out`. `streams` is memory for the streams.
    ///
    /// # Errors
    /// The streams cannot be unpacked, contradict each other, or reach beyond `old`.
    pub(crate) fn apply(
        &self,
        old: &[u8],
        context: &mut DCtx<'_>,
        streams: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), BundleError> {
        let Self { control, extra, add, packed } = self;
        // The reader of the mix compared the lengths with the limits.
        let streams = room(streams, control + extra + add);
        let length = context.decompress(&mut *streams, packed).ok();
        length
            .filter(|length| *length == streams.len())
            .ok_or_else(|| wrong("a part of it cannot be unpacked"))?;
        let (control, rest) = streams.split_at(*control);
        let (extra, add) = rest.split_at(*extra);
        out.clear();
        out.reserve(extra.len() + add.len());
        mix(old, control, extra, add, out)
    }
}

fn number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Appends the new bytes to `out`: as many as `extra` and `add` have together.
///
/// # Errors
/// The streams contradict each other or reach beyond `old`.
pub(crate) fn mix(
    old: &[u8],
    mut control: &[u8],
    mut extra: &[u8],
    mut add: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BundleError> {
    let mut place = 0i64;
    while !control.is_empty() {
        let [sum, as_is, seek] = [take(&mut control)?, take(&mut control)?, take(&mut control)?];
        let (differences, rest) = split(add, sum)?;
        add = rest;
        let from = usize::try_from(place)
            .ok()
            .and_then(|place| old.get(place..)?.get(..differences.len()));
        let from = from.ok_or_else(|| wrong("a patch reaches beyond its dictionary"))?;
        let start = out.len();
        out.extend_from_slice(from);
        add_to(&mut out[start..], differences);
        let (bytes, rest) = split(extra, as_is)?;
        extra = rest;
        out.extend_from_slice(bytes);
        let seek = (seek >> 1) as i64 ^ -((seek & 1) as i64);
        place = (place + differences.len() as i64) // at most the dictionary
            .checked_add(seek)
            .ok_or_else(|| wrong("a patch reaches beyond its dictionary"))?;
    }
    if extra.is_empty() && add.is_empty() {
        Ok(())
    } else {
        Err(wrong("the streams of a patch do not fit"))
    }
}

/// Adds to each byte its difference, modulo 256. It takes eight bytes at a time, because most bytes
/// have no difference. The device's programs are compiled for small size, and so without vectors.
fn add_to(bytes: &mut [u8], differences: &[u8]) {
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let (eights, rest) = bytes.as_chunks_mut();
    let (differences, others) = differences.as_chunks();
    for (eight, difference) in eights.iter_mut().zip(differences) {
        let difference = u64::from_le_bytes(*difference);
        if difference != 0 {
            let old = u64::from_le_bytes(*eight);
            // Without the top bits no byte carries into the next one.
            let sum = ((old & !TOPS) + (difference & !TOPS)) ^ ((old ^ difference) & TOPS);
            *eight = sum.to_le_bytes();
        }
    }
    for (byte, difference) in rest.iter_mut().zip(others) {
        *byte = byte.wrapping_add(*difference);
    }
}

fn split(bytes: &[u8], len: u64) -> Result<(&[u8], &[u8]), BundleError> {
    let len = usize::try_from(len).ok();
    len.and_then(|len| bytes.split_at_checked(len))
        .ok_or_else(|| wrong("the streams of a patch do not fit"))
}

fn take(control: &mut &[u8]) -> Result<u64, BundleError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) =
            control.split_first().ok_or_else(|| wrong("the control of a patch is cut short"))?;
        *control = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(wrong("a number in the control of a patch is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_was_taken_apart_is_put_together(
            old in proptest::collection::vec(proptest::num::u8::ANY, 1..200),
            steps in proptest::collection::vec(
                (
                    0usize..50,
                    0usize..200,
                    proptest::collection::vec(proptest::num::u8::ANY, 0..20),
                ),
                0..10,
            ),
        ) {
            let mut made = Mix::default();
            let mut new = Vec::new();
            let mut place = 0i64;
            for (len, at, extra) in &steps {
                let at = at % old.len();
                made.push(&[], &[], at as i64 - place);
                let add: Vec<u8> = old[at..].iter().take(*len).map(|byte| byte % 3).collect();
                new.extend(old[at..].iter().zip(&add).map(|(old, add)| old.wrapping_add(*add)));
                new.extend(extra);
                made.push(&add, extra, 0);
                place = (at + add.len()) as i64;
            }
            let mut out = Vec::new();
            mix(&old, &made.control, &made.extra, &made.add, &mut out).unwrap();
            proptest::prop_assert_eq!(out, new);
        }

        #[test]
        fn eight_bytes_at_once_are_eight_sums(
            pairs in proptest::collection::vec(
                (proptest::num::u8::ANY, proptest::num::u8::ANY),
                0..40,
            ),
        ) {
            let (mut bytes, differences): (Vec<u8>, Vec<u8>) = pairs.iter().copied().unzip();
            let sum = |(old, difference): &(u8, u8)| old.wrapping_add(*difference);
            let sums: Vec<u8> = pairs.iter().map(sum).collect();
            add_to(&mut bytes, &differences);
            proptest::prop_assert_eq!(bytes, sums);
        }

        #[test]
        fn any_streams_are_mixed_or_refused(
            old: Vec<u8>,
            control: Vec<u8>,
            extra: Vec<u8>,
            add: Vec<u8>,
        ) {
            let mut out = Vec::new();
            if mix(&old, &control, &extra, &add, &mut out).is_ok() {
                proptest::prop_assert_eq!(out.len(), extra.len() + add.len());
            }
        }
    }
}
