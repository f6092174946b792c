//! Finds the old blocks that have most in common with some new bytes.
//!
//! `groups` makes a patch from them.
//!
//! Every window of [`WINDOW`] bytes gets a hash. One in [`SAMPLE`] hashes is kept. The hash itself
//! decides that, so the same bytes are chosen wherever they lie. Blocks that share many kept hashes
//! are alike, whatever their files are called. Examples are a new version of a library, a module of
//! a new kernel, and a block in which the ends of other files have come together.

use std::collections::{BinaryHeap, HashMap};

/// Size of a window, in bytes. The bytes of equal windows are the same.
const WINDOW: usize = 24;
/// One window in this many is kept.
const SAMPLE: u64 = 64;
/// Most blocks that are read for one window. A window that more blocks have says nothing about
/// them.
const BLOCKS: usize = 8;
/// Fewest windows that a useful block shares with the new bytes (some 2 KiB). With fewer, the
/// device's time to read and unpack the block is not worth it. docs/decisions.md has the figures.
const FEWEST: usize = 32;

/// Windows of old blocks.
#[derive(Default, Debug)]
pub(crate) struct Similar {
    /// The hash is in the upper 36 bits, the number of the block in the lower 28. `finish` sorts
    /// them.
    windows: Vec<u64>,
}

const BLOCK_BITS: u32 = 28;

impl Similar {
    /// Adds block number `block`.
    pub(crate) fn add(&mut self, block: u32, content: &[u8]) {
        let windows = &mut self.windows;
        sample(content, |hash| windows.push(hash >> BLOCK_BITS << BLOCK_BITS | u64::from(block)));
    }

    /// Ends the list of blocks and sorts it.
    pub(crate) fn finish(&mut self) {
        self.windows.sort_unstable();
        self.windows.dedup();
    }

    /// Returns the numbers, in ascending order, of the blocks that have most in common with
    /// `content`. Their lengths, which `len` gives, add up to at most `room`. Each block is chosen
    /// for the windows that the blocks before it lack.
    pub(crate) fn choose(
        &self,
        content: &[u8],
        room: usize,
        len: impl Fn(u32) -> usize,
    ) -> Vec<u32> {
        let mut hashes = Vec::new();
        sample(content, |hash| hashes.push(hash >> BLOCK_BITS));
        hashes.sort_unstable();
        hashes.dedup();
        let mut shared: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, hash) in hashes.iter().enumerate() {
            let from = self.windows.partition_point(|window| window >> BLOCK_BITS < *hash);
            let same =
                self.windows[from..].iter().take_while(|window| *window >> BLOCK_BITS == *hash);
            for window in same.take(BLOCKS) {
                shared.entry((window & ((1 << BLOCK_BITS) - 1)) as u32).or_default().push(index);
            }
        }
        // The count of a block only falls when others are chosen, so it is counted again when its
        // turn comes. Among equal counts the smallest number wins. The same bundles thus give the
        // same delta.
        let mut heap: BinaryHeap<_> = shared
            .iter()
            .map(|(block, shared)| (shared.len(), std::cmp::Reverse(*block)))
            .collect();
        let mut is_covered = vec![false; hashes.len()];
        let (mut chosen, mut taken) = (Vec::new(), 0);
        while let Some((count, std::cmp::Reverse(block))) = heap.pop() {
            let now = shared[&block].iter().filter(|index| !is_covered[**index]).count();
            if now < FEWEST {
                continue;
            }
            if now < count {
                heap.push((now, std::cmp::Reverse(block)));
                continue;
            }
            if taken + len(block) > room {
                break;
            }
            taken += len(block);
            for index in &shared[&block] {
                is_covered[*index] = true;
            }
            chosen.push(block);
        }
        chosen.sort_unstable();
        chosen
    }
}

/// Calls `give` with the hash of one window in [`SAMPLE`]. The hash is a polynomial, so the next
/// hash follows from the last one.
fn sample(content: &[u8], mut give: impl FnMut(u64)) {
    const BASE: u64 = 0x9E37_79B9_7F4A_7C15;
    let leaving = (0..WINDOW).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut rolling = 0u64;
    for (end, byte) in content.iter().enumerate() {
        rolling = rolling.wrapping_mul(BASE).wrapping_add(u64::from(*byte) + 1);
        if let Some(start) = end.checked_sub(WINDOW) {
            rolling = rolling.wrapping_sub(leaving.wrapping_mul(u64::from(content[start]) + 1));
        }
        if end + 1 >= WINDOW {
            let hash = (rolling ^ rolling >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            if (hash >> 8).is_multiple_of(SAMPLE) {
                give(hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_with_the_same_bytes_is_found_wherever_they_lie() {
        let noise = |seed: u64| -> Vec<u8> {
            let mut state = seed;
            (0..20_000)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect()
        };
        let mut similar = Similar::default();
        for block in 0..10 {
            similar.add(block, &noise(u64::from(block) + 1));
        }
        similar.finish();
        let new = [&noise(99)[..7001], &noise(8)[3000..9000], &noise(4)[..5000]].concat();
        assert_eq!(similar.choose(&new, usize::MAX, |_| 1), [3, 7]);
        assert_eq!(similar.choose(&new, 1, |_| 1), [7], "the one with more comes first");
        assert!(similar.choose(&noise(77), usize::MAX, |_| 1).is_empty());
    }
}
