//! Where each chunk of an update comes from: it is in its place already, the running slot has it, it is of the dm-verity tree,
//! which is made here, or it is fetched.
//!
//! The idle slot is its own journal. What an install that was killed, or cut off with the power, has left there is found
//! by reading it, so no record can be lost with /var or say what is not so. A plan is advice: every chunk is
//! hashed again when it is used, and what turns out to be wrong is fetched.

use std::collections::HashMap;
use std::ops::Range;

use bundle::{Chunk, Image, Verified, Verity, VerityTree, verity_tree_size};
use sha2::{Digest, Sha256};

use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::opener::AnyDisk;
use crate::progress::Progress;
use crate::running_slot::RunningSlot;
use crate::slot_target::{PIECE, Piece, SlotTarget};
use crate::slot_writer::Job;

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
    /// Looks for what the slots have of the images of `jobs`: reads the whole of what will be overwritten, once and in
    /// 1 MiB of memory, and goes by what `running` says of itself.
    ///
    /// # Errors
    /// What `interrupt` says. What cannot be read is not there.
    pub(crate) fn make<D>(
        bundle: &Verified<D>,
        jobs: &[Job],
        running: Option<RunningSlot>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let total =
            jobs.iter().flat_map(|job| bundle.chunks(job.image)).map(|chunk| u64::from(chunk.len)).sum();
        let mut progress = Progress::start("looking", total);
        let (sources, missing) = (Vec::new(), Vec::new());
        let mut plan = Self { sources, running, here: 0, copied: 0, made: 0, fetched: 0, missing };
        let mut done = 0;
        for Job { image, target } in jobs {
            let chunks = bundle.chunks(image);
            let mut at = |offset| {
                progress.at(done + offset);
                interrupt.check()
            };
            let held = held(target, chunks, &mut at)?;
            done += end(chunks);
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

    /// The parts of the bundle, bytes, that will be read, in this order, if the slots keep what they promise.
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

/// Where the dm-verity tree of an image lies that is cut where it begins (bundles before that have chunks of both), and is
/// small enough to be held in memory; otherwise nowhere.
fn tree(image: Option<&Image>, chunks: &[Chunk]) -> Range<u64> {
    let verity = image.filter(|image| VerityTree::of(Some(image)).is_some()).and_then(|image| image.verity);
    let is_cut = |verity: &Verity| chunks.binary_search_by_key(&verity.size, |chunk| chunk.offset).is_ok();
    verity.filter(is_cut).map_or(0..0, |verity| verity.size..verity.size + verity_tree_size(verity.size))
}

/// Bytes of an image.
fn end(chunks: &[Chunk]) -> u64 {
    chunks.last().map_or(0, |chunk| chunk.offset + u64::from(chunk.len))
}

/// Which of `chunks` the partition holds in their places. `at` is told how many bytes were looked at.
fn held(
    target: &SlotTarget,
    chunks: &[Chunk],
    at: &mut dyn FnMut(u64) -> Result<(), Failure>,
) -> Result<Vec<bool>, Failure> {
    let size = end(chunks);
    let mut piece = Piece::new();
    let mut held = Vec::with_capacity(chunks.len());
    let mut next = chunks.iter();
    let mut current = next.next();
    let (mut hash, mut hashed, mut is_readable) = (Sha256::new(), 0, true);
    for offset in (0..size).step_by(PIECE) {
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
                held.push(hash.finalize_reset()[..] == chunk.sha256.0 && is_readable);
                (hashed, is_readable) = (0, true);
                current = next.next();
            }
        }
    }
    Ok(held)
}
