//! The chunk table of an image: how long each piece is and what it hashes to.
//!
//! On disk a table is one 36-byte entry a chunk, in the order of the image: length (u32, little endian, 1 to
//! [`limits::CHUNK`]), SHA-256. The lengths add up to the image exactly; offsets are not stored, so there
//! is nothing in a table that could overlap.

use crate::{Sha256, limits};

/// A piece of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Where it begins in the image, bytes.
    pub offset: u64,
    /// Its length, bytes; 1 to [`limits::CHUNK`].
    pub len: u32,
    /// What its bytes hash to.
    pub sha256: Sha256,
}

/// Bytes of one entry.
pub(crate) const ENTRY: usize = 36;

/// Lengths of the chunks of an image of `image_size` bytes in a bundle whose images are `total_size` together.
///
/// This is the one place that decides where chunks begin. They are 128 KiB, or the next power of two with
/// which the tables leave room for the rest of the tail. (Issue 4 cuts at the SquashFS's own blocks; the
/// format already allows any lengths.)
pub(crate) fn cut(image_size: u64, total_size: u64) -> impl Iterator<Item = u32> {
    const ROOM: u64 = limits::TAIL * 7 / 8 / ENTRY as u64;
    let mut len = 128 << 10;
    while total_size.div_ceil(u64::from(len)) > ROOM && len < limits::CHUNK {
        len *= 2;
    }
    let whole = image_size / u64::from(len);
    let rest = (image_size % u64::from(len)) as u32; // less than `len`
    (0..whole).map(move |_| len).chain((rest > 0).then_some(rest))
}

/// The table of `chunks`.
pub(crate) fn encode(chunks: &[Chunk]) -> Vec<u8> {
    let entry = |chunk: &Chunk| chunk.len.to_le_bytes().into_iter().chain(chunk.sha256.0);
    chunks.iter().flat_map(entry).collect()
}

/// The chunks of an image of `image_size` bytes.
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

    #[test]
    fn the_tables_of_several_gigabytes_fit_the_tail() {
        for size in [1u64 << 12, 80 << 20, 4 << 30, 24 << 30] {
            let count = cut(size, size).count() as u64;
            assert_eq!(cut(size, size).map(u64::from).sum::<u64>(), size);
            assert!(count * (ENTRY as u64) < limits::TAIL, "{size}: {count} chunks");
        }
        assert_eq!(cut((128 << 10) + 1, 1 << 20).collect::<Vec<_>>(), [128 << 10, 1]);
    }

    proptest::proptest! {
        #[test]
        fn a_table_is_read_as_it_was_written(lens in proptest::collection::vec(1..=limits::CHUNK, 0..50)) {
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
