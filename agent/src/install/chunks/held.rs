//! Finds the chunks of a bundle that the idle slot already holds, after an install that broke off.
//!
//! `plan` decides what follows. This file reads and hashes the slot itself, because a record of its
//! content could be lost or wrong.

use bundle::Chunk;
use sha2::{Digest, Sha256};

use crate::device::slot::target::{PIECE, Piece, SlotTarget};
use crate::exit::Failure;

/// Returns the size of an image in bytes.
pub(crate) fn end(chunks: &[Chunk]) -> u64 {
    chunks.last().map_or(0, |chunk| chunk.offset + u64::from(chunk.len))
}

/// Returns which of `chunks` the partition holds in their places. After `patience` bytes in a row
/// that it does not hold, the rest counts as not held. `at` gets the number of bytes that were
/// read.
pub(crate) fn held(
    target: &SlotTarget,
    chunks: &[Chunk],
    patience: u64,
    at: &mut dyn FnMut(u64) -> Result<(), Failure>,
) -> Result<Vec<bool>, Failure> {
    let size = end(chunks);
    let mut piece = Piece::new();
    let mut held = Vec::with_capacity(chunks.len());
    let mut next = chunks.iter();
    let mut current = next.next();
    let (mut hash, mut hashed, mut is_readable) = (Sha256::new(), 0, true);
    // End of the last chunk that is held.
    let mut found = 0;
    for offset in (0..size).step_by(PIECE) {
        if offset - found >= patience {
            break;
        }
        at(offset)?;
        let length = usize::try_from(size - offset).map_or(PIECE, |left| left.min(PIECE));
        let bytes = &mut piece.bytes_mut()[..length];
        let is_read = target.read(bytes, offset).is_ok();
        let mut rest = &*bytes;
        while let Some(chunk) = current.filter(|_| !rest.is_empty()) {
            is_readable &= is_read;
            let count = rest.len().min(chunk.len as usize - hashed);
            hash.update(&rest[..count]);
            rest = &rest[count..];
            hashed += count;
            if hashed == chunk.len as usize {
                let is_held = hash.finalize_reset()[..] == chunk.sha256.0 && is_readable;
                if is_held {
                    found = chunk.offset + u64::from(chunk.len);
                }
                held.push(is_held);
                (hashed, is_readable) = (0, true);
                current = next.next();
            }
        }
    }
    held.resize(chunks.len(), false);
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::disk::opener::{Access, Opener};

    #[test]
    fn what_lies_far_behind_is_looked_for_only_with_patience() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root-b");
        let bytes: Vec<u8> = (0..6 * PIECE).map(|i| (i / PIECE) as u8).collect();
        let chunk = |piece: &[u8], index: usize| Chunk {
            offset: (index * PIECE) as u64,
            len: PIECE as u32,
            sha256: bundle::Sha256::of(piece),
        };
        let chunks: Vec<_> =
            bytes.chunks(PIECE).enumerate().map(|(index, piece)| chunk(piece, index)).collect();
        let mut damaged = bytes.clone();
        for byte in &mut damaged[PIECE..4 * PIECE] {
            *byte ^= 1;
        }
        std::fs::write(&path, &damaged).unwrap();
        let disk = Opener::default().open(&path, Access::Write).unwrap();
        let target = SlotTarget::new(&path, disk);
        let mut looked = 0;
        let mut held = |patience| {
            let mut at = |offset| {
                looked = offset;
                Ok(())
            };
            let held = held(&target, &chunks, patience, &mut at).unwrap();
            (held, looked)
        };
        let piece = PIECE as u64;
        let all = vec![true, false, false, false, true, true];
        assert_eq!(held(u64::MAX), (all.clone(), 5 * piece));
        assert_eq!(held(4 * piece), (all, 5 * piece), "just enough");
        assert_eq!(held(3 * piece), (vec![true, false, false, false, false, false], 3 * piece));
    }
}
