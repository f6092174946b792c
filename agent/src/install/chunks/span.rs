//! Divides an image into the pieces in which it is written.
//!
//! `plan` has the sources of the bytes, and `writer` writes them. Only the plan decides order and
//! lengths, so every run writes the same pieces.

use std::ops::Range;

use bundle::Chunk;

use crate::device::slot::target::PIECE;
use crate::install::chunks::plan::Source;

/// Spans begin and end on a multiple of this many bytes, and so does an image.
const BLOCK: u64 = 4096;
/// Fetched bytes at which a span ends.
pub(crate) const FETCHED: u64 = 16 << 10;

/// A part of an image that is written with one call, or need not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    /// Bytes of the image; at most [`PIECE`] of them.
    pub(crate) range: Range<u64>,
    /// True if all of it is in its place already.
    pub(crate) is_here: bool,
}

/// The spans of an image, in its order, without gaps.
pub(crate) struct Spans<'a> {
    chunks: &'a [Chunk],
    /// The source of each chunk. Empty: all come from a file at hand.
    sources: &'a [Source],
    /// Fetched bytes at which a span ends.
    most_fetched: u64,
    /// Index of the chunk that reaches beyond `offset`.
    index: usize,
    offset: u64,
}

impl<'a> Spans<'a> {
    /// Returns the spans of the image of these `chunks`. Without `sources` the bundle is a file,
    /// and all spans but the last are as long as possible. A span ends at `most_fetched` fetched
    /// bytes: [`FETCHED`], or no bound for a delta, which fetches only a fraction of a span.
    pub(crate) fn new(chunks: &'a [Chunk], sources: &'a [Source], most_fetched: u64) -> Self {
        Self { chunks, sources, most_fetched, index: 0, offset: 0 }
    }

    /// Returns if the block at `offset` is in its place, and how many of its bytes are fetched.
    fn block(&mut self, offset: u64) -> (bool, u64) {
        let (mut is_here, mut fetched) = (true, 0);
        let block = offset..offset + BLOCK;
        while let Some(chunk) = self.chunks.get(self.index).filter(|chunk| chunk.offset < block.end)
        {
            let chunk_end = chunk.offset + u64::from(chunk.len);
            if chunk_end > block.start {
                match self.sources.get(self.index) {
                    Some(Source::Here) => {}
                    Some(Source::Copy { .. } | Source::Tree) | None => is_here = false,
                    Some(Source::Fetch) => {
                        is_here = false;
                        fetched += chunk_end.min(block.end) - chunk.offset.max(block.start);
                    }
                }
            }
            if chunk_end > block.end {
                break;
            }
            self.index += 1;
        }
        (is_here, fetched)
    }
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let size = self.chunks.last().map_or(0, |chunk| chunk.offset + u64::from(chunk.len));
        let start = self.offset;
        if start >= size {
            return None;
        }
        let (is_here, mut fetched) = self.block(start);
        let mut end = start + BLOCK;
        while end < size && end - start < PIECE as u64 && fetched < self.most_fetched {
            let before = self.index;
            let (next_is_here, more) = self.block(end);
            if next_is_here != is_here {
                self.index = before;
                break;
            }
            fetched += more;
            end += BLOCK;
        }
        self.offset = end.min(size);
        Some(Span { range: start..self.offset, is_here })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(lengths: &[u32]) -> Vec<Chunk> {
        let mut offset = 0;
        let chunk = |&len: &u32| {
            let chunk = Chunk { offset, len, sha256: bundle::Sha256([0; 32]) };
            offset += u64::from(len);
            chunk
        };
        lengths.iter().map(chunk).collect()
    }

    #[test]
    fn a_file_is_written_in_whole_pieces() {
        let chunks = chunks(&[100_000, 1 << 20, (1 << 20) - 100_000, 8192]);
        let spans: Vec<_> = Spans::new(&chunks, &[], FETCHED).collect();
        let range = |range: Range<u64>| Span { range, is_here: false };
        let piece = PIECE as u64;
        assert_eq!(
            spans,
            [range(0..piece), range(piece..2 * piece), range(2 * piece..2 * piece + 8192)]
        );
    }

    #[test]
    fn only_whole_blocks_that_are_in_their_place_are_left_alone() {
        let chunks = chunks(&[5000, 20_000, 7768, 4096]);
        let spans: Vec<_> = Spans::new(
            &chunks,
            &[Source::Fetch, Source::Here, Source::Copy { from: 0 }, Source::Here],
            FETCHED,
        )
        .collect();
        let span = |range, is_here| Span { range, is_here };
        assert_eq!(
            spans,
            [
                span(0..8192, false),
                span(8192..24576, true),
                span(24576..32768, false),
                span(32768..36864, true)
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn spans_cover_the_image_and_write_all_that_is_not_in_its_place(
            plan in proptest::collection::vec((1..200_000u32, 0..3u8), 1..60),
            is_by_delta: bool,
        ) {
            let mut lengths: Vec<u32> = plan.iter().map(|(len, _)| *len).collect();
            let total: u32 = lengths.iter().sum();
            lengths.push(total.next_multiple_of(4096) - total + 4096);
            let chunks = chunks(&lengths);
            let mut sources: Vec<Source> = plan.iter().map(|(_, source)| match source {
                0 => Source::Here,
                1 => Source::Copy { from: 0 },
                _ => Source::Fetch,
            }).collect();
            sources.push(Source::Fetch);
            let most_fetched = if is_by_delta { u64::MAX } else { FETCHED };
            let spans: Vec<_> = Spans::new(&chunks, &sources, most_fetched).collect();
            let mut end = 0;
            for span in &spans {
                proptest::prop_assert_eq!(span.range.start, end);
                end = span.range.end;
                let len = end - span.range.start;
                proptest::prop_assert!(len > 0 && len <= PIECE as u64 && len % BLOCK == 0);
                let mut fetched = 0;
                for (chunk, source) in chunks.iter().zip(&sources) {
                    let overlap = (chunk.offset + u64::from(chunk.len)).min(end)
                        .saturating_sub(chunk.offset.max(span.range.start));
                    let is_kept = overlap == 0 || *source == Source::Here;
                    proptest::prop_assert!(!span.is_here || is_kept);
                    fetched += if *source == Source::Fetch { overlap } else { 0 };
                }
                proptest::prop_assert!(is_by_delta || fetched < FETCHED + BLOCK);
            }
            proptest::prop_assert_eq!(end, lengths.iter().map(|len| u64::from(*len)).sum::<u64>());
        }
    }
}
