//! Merges texts by lines.
//!
//! `diffy` does it. Text is what has no NUL byte; the encoding does not matter.

use crate::limits::MAX_LINES;

/// Why two texts were not merged.
pub(crate) const NO_TEXT: &str = "changed here and in the image, and it is not text";
pub(crate) const TOO_LONG: &str = "changed here and in the image, and too long to merge";
pub(crate) const SAME_LINES: &str = "the same lines were changed here and in the image";

/// Merges the changes of both. An error says why that is not possible.
pub(crate) fn merge(base: &[u8], mine: &[u8], theirs: &[u8]) -> Result<Vec<u8>, &'static str> {
    let sides = [base, mine, theirs];
    if sides.iter().any(|side| side.contains(&0)) {
        return Err(NO_TEXT);
    }
    let lines = |side: &[u8]| side.iter().filter(|byte| **byte == b'\n').count();
    if sides.iter().any(|side| lines(side) > MAX_LINES) {
        return Err(TOO_LONG);
    }
    // The error is the text with marks of the conflicts. No program could read that.
    diffy::merge_bytes(base, mine, theirs).map_err(|_| SAME_LINES)
}
