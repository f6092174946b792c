//! Where each chunk of an update comes from: it is in its place already, the running slot has it,
//! it is of the dm-verity tree, which is made here, or it is fetched.
//!
//! The idle slot is its own journal. What an install that was killed, or cut off with the power,
//! has left there is found by reading it, so no record can be lost with /var or say what is not so.
//! A plan is advice: every chunk is hashed again when it is used, and what turns out to be wrong is
//! fetched.

use std::collections::HashMap;
use std::ops::Range;

use bundle::{Chunk, Image, Verified, Verity, VerityTree, verity_tree_size};
use sha2::{Digest, Sha256};

use crate::device::disk::opener::AnyDisk;
use crate::device::slot::running::RunningSlot;
use crate::device::slot::target::{PIECE, Piece, SlotTarget};
use crate::exit::Failure;
use crate::install::chunks::writer::Job;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// Bytes of an image that the idle slot does not hold, one after the other, behind which nothing
/// more is looked for if there is a delta. An install writes from the beginning to the end, so what
/// one before has left there lies at the beginning.
const PATIENCE: u64 = 1 << 20;

/// Where a chunk comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// The idle slot holds it, in its place.
    Here,
    /// The running slot's partition for the same image has it at this byte.
    Copy { from: u64 },
    /// It is of the dm-verity tree of the data in front of it.
    Tree,
    /// The bundle.
    Fetch,
}

/// Where the chunks of the images of some jobs come from.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each job, for each chunk.
    sources: Vec<Vec<Source>>,
    /// What copies are read from.
    running: Option<RunningSlot>,
    /// Bytes that lie in their places already.
    pub(crate) here: u64,
    /// Bytes that the running slot has.
    pub(crate) copied: u64,
    /// Bytes of dm-verity trees that are made here.
    pub(crate) made: u64,
    /// Bytes that must be fetched.
    pub(crate) fetched: u64,
    missing: Vec<Range<u64>>,
}

impl Plan {
    /// Looks for what the slots have of the images of `jobs`: reads the whole of what will be
    /// overwritten, once and in 1 MiB of memory, and goes by what `running`, which is asked then,
    /// says of itself. Where there is a delta besides, which is shorter than nearly all that could
    /// be found, it looks no further than [`PATIENCE`].
    ///
    /// # Errors
    /// What `interrupt` says. What cannot be read is not there.
    pub(crate) fn make<D>(
        bundle: &Verified<D>,
        jobs: &[Job],
        running: impl FnOnce() -> Option<RunningSlot>,
        has_delta: bool,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let total = jobs
            .iter()
            .flat_map(|job| bundle.chunks(job.image))
            .map(|chunk| u64::from(chunk.len))
            .sum();
        let mut progress = Progress::start("looking", total);
        let patience = if has_delta { PATIENCE } else { u64::MAX };
        let (mut of_idle, mut done) = (Vec::new(), 0);
        for Job { image, target } in jobs {
            let mut at = |offset| {
                progress.at(done + offset);
                interrupt.check()
            };
            of_idle.push(held(target, bundle.chunks(image), patience, &mut at)?);
            done += end(bundle.chunks(image));
        }
        let (sources, missing) = (Vec::new(), Vec::new());
        let mut plan =
            Self { sources, running: running(), here: 0, copied: 0, made: 0, fetched: 0, missing };
        for (Job { image, .. }, held) in jobs.iter().zip(of_idle) {
            let chunks = bundle.chunks(image);
            let places: HashMap<bundle::Sha256, (u64, u32)> = plan
                .running
                .as_ref()
                .map_or(&[][..], |running| running.chunks(image))
                .iter()
                .map(|chunk| (chunk.sha256, (chunk.offset, chunk.len)))
                .collect();
            let tree = tree(bundle.manifest().image(image), chunks);
            let source = |(chunk, is_here): (&Chunk, bool)| match places.get(&chunk.sha256) {
                _ if is_here => Source::Here,
                Some((from, len)) if *len == chunk.len => Source::Copy { from: *from },
                _ if tree.contains(&chunk.offset) => Source::Tree,
                _ => Source::Fetch,
            };
            let sources: Vec<Source> = chunks.iter().zip(held).map(source).collect();
            let start = bundle.manifest().image(image).map_or(0, |image| image.offset);
            plan.count(chunks, &sources, start);
            plan.sources.push(sources);
        }
        Ok(plan)
    }

    /// Adds an image that begins at `start` of the bundle.
    fn count(&mut self, chunks: &[Chunk], sources: &[Source], start: u64) {
        for (chunk, source) in chunks.iter().zip(sources) {
            let len = u64::from(chunk.len);
            match source {
                Source::Here => self.here += len,
                Source::Copy { .. } => self.copied += len,
                Source::Tree => self.made += len,
                Source::Fetch => {
                    self.fetched += len;
                    let range = start + chunk.offset..start + chunk.offset + len;
                    match self.missing.last_mut() {
                        Some(last) if last.end == range.start => last.end = range.end,
                        _ => self.missing.push(range),
                    }
                }
            }
        }
    }

    /// The parts of the bundle, bytes, that will be read, in this order, if the slots keep what
    /// they promise.
    pub(crate) fn missing(&self) -> &[Range<u64>] {
        &self.missing
    }

    /// Where the chunks of job number `job` come from.
    pub(crate) fn sources(&self, job: usize) -> &[Source] {
        self.sources.get(job).map_or(&[], Vec::as_slice)
    }

    /// The partition of the running slot that holds `image`, if it gives anything.
    pub(crate) fn running(&self, image: &str) -> Option<&AnyDisk> {
        self.running.as_ref()?.disk(image)
    }
}

/// Where the dm-verity tree of an image lies that is cut where it begins (bundles before that have
/// chunks of both), and is small enough to be held in memory; otherwise nowhere.
fn tree(image: Option<&Image>, chunks: &[Chunk]) -> Range<u64> {
    let verity =
        image.filter(|image| VerityTree::of(Some(image)).is_some()).and_then(|image| image.verity);
    let is_cut =
        |verity: &Verity| chunks.binary_search_by_key(&verity.size, |chunk| chunk.offset).is_ok();
    verity
        .filter(is_cut)
        .map_or(0..0, |verity| verity.size..verity.size + verity_tree_size(verity.size))
}

/// Bytes of an image.
fn end(chunks: &[Chunk]) -> u64 {
    chunks.last().map_or(0, |chunk| chunk.offset + u64::from(chunk.len))
}

/// Which of `chunks` the partition holds in their places. After `patience` bytes that it does not
/// hold, one after the other, the rest counts as not held either. `at` is told how many bytes were
/// looked at.
fn held(
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
    // Where the last chunk ends that is held.
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
