//! The chunk table of an image: how long each piece is and what it hashes to.
//!
//! `cut` decides where the pieces begin.
//!
//! On disk a table is one 36-byte entry a chunk, in the order of the image. An entry is the length
//! (u32, little endian, 1 to [`limits::CHUNK`]) and the SHA-256. The lengths add up to the image
//! exactly. A table stores no offsets, so nothing in it could overlap.

use image_layout::Disk;

use crate::value::limits;
use crate::{BundleError, Sha256};

/// A piece of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Where the chunk begins in the image, bytes.
    pub offset: u64,
    /// The chunk's length, bytes; 1 to [`limits::CHUNK`].
    pub len: u32,
    /// SHA-256 of the chunk's bytes.
    pub sha256: Sha256,
}

/// Bytes of one entry.
pub(crate) const ENTRY: usize = 36;

/// Returns chunks of these lengths, with the hashes of what lies on `disk` from `start` on.
///
/// # Errors
/// The disk cannot be read.
pub(crate) fn hash(
    disk: &impl Disk,
    start: u64,
    lengths: &[u32],
) -> Result<Vec<Chunk>, BundleError> {
    let (mut buf, mut offset) = (Vec::new(), 0);
    let one = |&len: &u32| {
        buf.resize(len as usize, 0);
        disk.read_at(&mut buf, start + offset).map_err(BundleError::read("an image"))?;
        let chunk = Chunk { offset, len, sha256: Sha256::of(&buf) };
        offset += u64::from(len);
        Ok(chunk)
    };
    lengths.iter().map(one).collect()
}

/// Returns the table of `chunks`.
pub(crate) fn encode(chunks: &[Chunk]) -> Vec<u8> {
    let entry = |chunk: &Chunk| chunk.len.to_le_bytes().into_iter().chain(chunk.sha256.0);
    chunks.iter().flat_map(entry).collect()
}

/// Returns the bytes of the image that the entries of `table` add up to.
pub(crate) fn size(table: &[u8]) -> u64 {
    let len = |entry: &[u8; ENTRY]| {
        u64::from(u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]))
    };
    table.as_chunks().0.iter().map(len).sum()
}

/// Returns the chunks of an image of `image_size` bytes.
pub(crate) fn decode(table: &[u8], image_size: u64) -> Result<Vec<Chunk>, &'static str> {
    let (entries, rest) = table.as_chunks::<ENTRY>();
    if !rest.is_empty() {
        return Err("its chunk table has half an entry");
    }
    let mut offset = 0;
    let mut chunks = Vec::with_capacity(entries.len());
    for entry in entries {
        let (len, sha256) = entry.split_at(4);
        let mut chunk = Chunk { offset, len: 0, sha256: Sha256([0; 32]) };
        chunk.sha256.0.copy_from_slice(sha256);
        chunk.len = len.iter().rev().fold(0, |len, byte| len << 8 | u32::from(*byte));
        if chunk.len == 0 || chunk.len > limits::CHUNK {
            return Err("a chunk is empty or larger than 1 MiB");
        }
        offset += u64::from(chunk.len);
        chunks.push(chunk);
    }
    if offset != image_size {
        return Err("the lengths of its chunks do not add up to its size");
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_table_is_read_as_it_was_written(
            lens in proptest::collection::vec(1..=limits::CHUNK, 0..50),
        ) {
            let mut offset = 0;
            let chunks: Vec<Chunk> = lens.iter().map(|&len| {
                let chunk = Chunk { offset, len, sha256: Sha256::of(&len.to_le_bytes()) };
                offset += u64::from(len);
                chunk
            }).collect();
            proptest::prop_assert_eq!(decode(&encode(&chunks), offset).unwrap(), chunks.clone());
            proptest::prop_assert!(decode(&encode(&chunks), offset + 1).is_err());
        }

        #[test]
        fn any_bytes_are_a_table_or_refused(table: Vec<u8>, size: u64) {
            let _ = decode(&table, size);
        }
    }
}
