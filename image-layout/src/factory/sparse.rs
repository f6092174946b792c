//! Copies without writing zeros.
//!
//! The callers say from where to where. The image then takes no more room than its content.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// A smaller hole is not worth an extent of its own.
const BLOCK: usize = 64 << 10;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Copies all of `from` to `offset` in `to`, which must read as zeros there. Returns the number of
/// bytes that were read.
pub(crate) fn copy(mut from: impl Read, to: &File, offset: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 16 * BLOCK];
    let mut done = 0;
    loop {
        let filled = fill(&mut from, &mut buffer)?;
        for block in buffer[..filled].chunks(BLOCK) {
            if block != &ZEROS[..block.len()] {
                to.write_all_at(block, offset + done)?;
            }
            done += block.len() as u64;
        }
        if filled < buffer.len() {
            return Ok(done);
        }
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
