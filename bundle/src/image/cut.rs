//! Where the chunks of an image begin. Only this file decides it: the format allows any lengths.
//!
//! `chunk` hashes the pieces.
//!
//! An image is cut where its own parts begin and end. These are the data blocks of the root's
//! SquashFS, the files of a boot image and the archives in them. So a part that did not change is
//! the same chunk wherever it lies. A part longer than [`PIECE`] is cut again, counted from its own
//! beginning.

use std::collections::BTreeSet;

use crate::image::chunk::ENTRY;
use crate::value::limits;

/// Most bytes of a chunk, as long as the tables fit.
const PIECE: u64 = 128 << 10;
/// Most chunks of all images together. The rest, an eighth of the tail, is for manifest and
/// signatures.
pub(crate) const ALL: usize = limits::TAIL as usize / ENTRY * 7 / 8;
/// Most chunks of the root image. Its table is a file of the boot image as well.
pub(crate) const ROOT: usize = ALL * 6 / 7;
/// Most chunks of the boot image.
pub(crate) const BOOT: usize = ALL / 14;

/// Returns the lengths of the chunks of an image of `size` bytes that is cut at `boundaries`. If
/// there are more than `most`, neighbours are joined to chunks of at most 128 KiB, then 256 KiB, up
/// to [`limits::CHUNK`]. If that is not enough, every chunk but the last has [`limits::CHUNK`]
/// bytes, however many there are.
pub(crate) fn cut(size: u64, boundaries: &BTreeSet<u64>, most: usize) -> Vec<u32> {
    let mut lengths = Vec::new();
    let mut begin = 0;
    while begin < size {
        let len = next(begin, size, boundaries);
        lengths.push(len);
        begin += u64::from(len);
    }
    let mut limit = PIECE as u32;
    while lengths.len() > most && limit <= limits::CHUNK {
        lengths = joined(&lengths, limit);
        limit *= 2;
    }
    if lengths.len() > most {
        // Joined chunks are not quite full, so an image this large is cut without regard to its
        // parts.
        let chunk = u64::from(limits::CHUNK);
        let rest = (size % chunk) as u32; // less than a chunk
        lengths = vec![limits::CHUNK; (size / chunk) as usize];
        lengths.extend((rest > 0).then_some(rest));
    }
    lengths
}

/// Returns the length of the chunk that begins at `begin`, before any are joined.
pub(crate) fn next(begin: u64, size: u64, boundaries: &BTreeSet<u64>) -> u32 {
    let end = boundaries.range(begin + 1..).next().map_or(size, |end| size.min(*end));
    (end - begin).min(PIECE) as u32 // at most 128 KiB
}

/// Joins neighbours as long as they are at most `limit` bytes together.
fn joined(lengths: &[u32], limit: u32) -> Vec<u32> {
    let mut joined: Vec<u32> = Vec::new();
    for &len in lengths {
        match joined.last_mut() {
            Some(last) if *last + len <= limit => *last += len,
            _ => joined.push(len),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(lengths: &[u32]) -> u64 {
        lengths.iter().map(|len| u64::from(*len)).sum()
    }

    #[test]
    fn the_tables_of_several_gigabytes_fit_the_tail() {
        for size in [1u64 << 12, 80 << 20, 4 << 30, 20 << 30] {
            let blocks: BTreeSet<u64> = (0..size / 50_000).map(|block| block * 50_000).collect();
            for boundaries in [BTreeSet::new(), blocks] {
                let lengths = cut(size, &boundaries, ROOT);
                assert_eq!(total(&lengths), size);
                assert!(lengths.len() <= ROOT, "{size}: {} chunks", lengths.len());
                assert!(lengths.iter().all(|len| (1..=limits::CHUNK).contains(len)));
            }
        }
        assert!(ROOT + BOOT < ALL && ALL * ENTRY < limits::TAIL as usize - limits::MANIFEST);
    }

    #[test]
    fn a_part_is_cut_from_its_own_beginning() {
        let part = 128 << 10;
        assert_eq!(cut(part + 1, &BTreeSet::new(), ROOT), [128 << 10, 1]);
        assert_eq!(cut(5000 + part + 1, &BTreeSet::from([0, 5000]), ROOT), [5000, 128 << 10, 1]);
        assert_eq!(
            cut(100, &BTreeSet::from([100, 200]), ROOT),
            [100],
            "nothing lies behind the end"
        );
        assert_eq!(cut(300, &BTreeSet::from([100, 200]), 2), [300]);
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_boundaries_the_lengths_add_up(
            size in 1..(64u64 << 20), boundaries: BTreeSet<u32>, most in 1..2000usize,
        ) {
            let inside = |place| u64::from(place) % (size + 9);
            let boundaries: BTreeSet<u64> = boundaries.into_iter().map(inside).collect();
            let lengths = cut(size, &boundaries, most);
            proptest::prop_assert_eq!(total(&lengths), size);
            proptest::prop_assert!(lengths.iter().all(|len| (1..=limits::CHUNK).contains(len)));
            let count = lengths.len();
            proptest::prop_assert!(count <= most || count as u64 == size.div_ceil(1 << 20));
        }
    }
}
