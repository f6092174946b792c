//! Reads back what was written, and compares it with the signed hashes.
//!
//! `writer` says which bytes are durable. One thread reads and another hashes, so that the disk
//! does not wait.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use bundle::Chunk;
use sha2::{Digest, Sha256};

use crate::device::slot::target::{PIECE, Piece};
use crate::exit::{Exit, Failure};
use crate::install::chunks::job::Job;

/// Pieces on their way: one being filled, one waiting, one being emptied.
const PIECES: usize = 3;

/// A part of a job's image that was read back. The first `length` bytes are used.
struct Filled {
    piece: Piece,
    length: usize,
}

/// Reads from the disk what is durable. A thread of its own hashes it against the signed chunks.
pub(crate) fn compare(
    jobs: &[Job],
    tables: &[&[Chunk]],
    to_read_back: &Receiver<(usize, Range<u64>)>,
) -> Result<(), Failure> {
    let (filled, to_hash) = sync_channel(PIECES);
    let (free, to_fill) = channel();
    for _ in 0..PIECES {
        let _ = free.send(Piece::new());
    }
    thread::scope(|scope| {
        let hasher = scope.spawn(move || hash(jobs, tables, &to_hash, &free));
        let outcome = read_back(jobs, to_read_back, &to_fill, filled);
        outcome.and(hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn read_back(
    jobs: &[Job],
    to_read_back: &Receiver<(usize, Range<u64>)>,
    to_fill: &Receiver<Piece>,
    filled: SyncSender<Filled>,
) -> Result<(), Failure> {
    for (job, range) in to_read_back {
        let target = &jobs[job].target;
        target.forget(&range);
        for offset in range.clone().step_by(PIECE) {
            let Ok(mut piece) = to_fill.recv() else { return Ok(()) }; // the hasher says why
            let length = usize::try_from(range.end - offset).map_or(PIECE, |left| left.min(PIECE));
            let bytes = &mut piece.bytes_mut()[..length];
            target
                .read(bytes, offset)
                .map_err(|error| jobs[job].disk_failure("reading back", offset, &error))?;
            if filled.send(Filled { piece, length }).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn hash(
    jobs: &[Job],
    tables: &[&[Chunk]],
    to_hash: &Receiver<Filled>,
    free: &Sender<Piece>,
) -> Result<(), Failure> {
    let mut chunks = tables
        .iter()
        .enumerate()
        .flat_map(|(job, table)| table.iter().map(move |chunk| (job, chunk)));
    let mut next = chunks.next();
    let mut hash = Sha256::new();
    let mut hashed = 0;
    for filled in to_hash {
        let mut rest = &filled.piece.bytes()[..filled.length];
        while let Some((job, chunk)) = next.filter(|_| !rest.is_empty()) {
            let count = rest.len().min(chunk.len as usize - hashed);
            hash.update(&rest[..count]);
            rest = &rest[count..];
            hashed += count;
            if hashed == chunk.len as usize {
                if hash.finalize_reset()[..] != chunk.sha256.0 {
                    let (path, offset) = (jobs[job].target.path().display(), chunk.offset);
                    let line = format!(
                        "reading back {path} at byte {offset}: the disk does not give back what \
                            was written; the disk is failing, replace it"
                    );
                    return Err(Failure::new(Exit::SlotIo, line));
                }
                hashed = 0;
                next = chunks.next();
            }
        }
        let _ = free.send(filled.piece);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::disk::opener::{Access, Opener};
    use crate::device::slot::target::SlotTarget;

    fn chunk(offset: u64, bytes: &[u8]) -> Chunk {
        Chunk {
            offset,
            len: u32::try_from(bytes.len()).unwrap(),
            sha256: bundle::Sha256::of(bytes),
        }
    }

    #[test]
    fn a_disk_that_does_not_keep_what_was_written_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root-b");
        let bytes: Vec<u8> = (0..3 * PIECE + 8192).map(|i| (i % 251) as u8).collect();
        let (first, second) = bytes.split_at(PIECE + 100);
        let chunks = [chunk(0, first), chunk(first.len() as u64, second)];
        std::fs::write(&path, &bytes).unwrap();
        let compare_file = || {
            let disk = Opener::default().open(&path, Access::Write).unwrap();
            let jobs = [Job { image: "root", target: SlotTarget::new(&path, disk) }];
            let (written, to_read_back) = channel();
            written.send((0, 0..PIECE as u64)).unwrap();
            written.send((0, PIECE as u64..bytes.len() as u64)).unwrap();
            drop(written);
            compare(&jobs, &[&chunks], &to_read_back)
        };
        compare_file().unwrap();
        let mut damaged = bytes.clone();
        damaged[2 * PIECE] ^= 4;
        std::fs::write(&path, damaged).unwrap();
        let failure = compare_file().unwrap_err();
        assert_eq!(failure.exit, Exit::SlotIo);
        assert!(failure.message.contains("at byte 1048676"), "{failure}");
    }
}
