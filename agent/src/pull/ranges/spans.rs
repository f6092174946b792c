//! Decides which ranges are fetched with one request.
//!
//! `transfer` sends the requests. Neighbouring ranges become one request. If there are too many
//! requests, the smallest gaps are fetched too.

use std::ops::Range;

/// Joins `ranges` (ascending, not overlapping) to at most `most` spans that cover all of them. The
/// smallest gaps are bridged first.
pub(crate) fn spans(ranges: &[Range<u64>], most: usize) -> Vec<Range<u64>> {
    let mut spans: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|range| range.start < range.end) {
        match spans.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => spans.push(range.clone()),
        }
    }
    let too_many = spans.len().saturating_sub(most.max(1));
    if too_many == 0 {
        return spans;
    }
    // (size of the gap in front, index). The smallest gaps are bridged, of equal ones the first.
    let mut gaps: Vec<(u64, usize)> = spans
        .windows(2)
        .enumerate()
        .map(|(index, pair)| (pair[1].start - pair[0].end, index + 1))
        .collect();
    gaps.sort_unstable();
    let mut is_bridged = vec![false; spans.len()];
    for (_, index) in gaps.iter().take(too_many) {
        is_bridged[*index] = true;
    }
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(spans.len() - too_many);
    for (span, is_bridged) in spans.into_iter().zip(is_bridged) {
        match joined.last_mut() {
            Some(last) if is_bridged => last.end = span.end,
            _ => joined.push(span),
        }
    }
    joined
}

/// Returns the number of bytes in `spans`.
pub(crate) fn bytes(spans: &[Range<u64>]) -> u64 {
    spans.iter().map(|span| span.end - span.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_are_one_request_and_the_smallest_gap_goes_first() {
        let ranges = [0..10, 10..20, 25..30, 31..40, 90..91];
        assert_eq!(spans(&ranges, 100), [0..20, 25..30, 31..40, 90..91]);
        assert_eq!(spans(&ranges, 3), [0..20, 25..40, 90..91]);
        assert_eq!(spans(&ranges, 1), vec![0..91]);
        assert_eq!(spans(&[], 1), []);
    }

    proptest! {
        #[test]
        fn spans_cover_every_range_with_few_requests(
            lengths in prop::collection::vec((0_u64..50, 0_u64..50), 0..80),
            most in 1_usize..20,
        ) {
            let mut at = 0;
            let ranges: Vec<_> = lengths.iter().map(|(gap, length)| {
                let start = at + gap;
                at = start + length;
                start..at
            }).collect();
            let spans = spans(&ranges, most);
            prop_assert!(spans.len() <= most);
            prop_assert!(spans.windows(2).all(|pair| pair[0].end < pair[1].start));
            for range in ranges.iter().filter(|range| range.start < range.end) {
                let covers = |span: &Range<u64>| span.start <= range.start && range.end <= span.end;
                prop_assert!(spans.iter().any(covers));
            }
            prop_assert!(bytes(&spans) >= bytes(&ranges));
        }
    }
}
