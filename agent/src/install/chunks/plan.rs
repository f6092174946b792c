//! Finds the source of each chunk of an update: idle slot, running slot, hash tree or bundle.
//!
//! `held` reads the idle slot, and `reader` gets the chunks. A plan may be wrong: every chunk is
//! hashed when it is used, and a wrong one is fetched.

use std::collections::HashMap;
use std::ops::Range;

use bundle::{Chunk, Image, Verified, Verity, VerityTree, verity_tree_size};

use crate::device::disk::opener::AnyDisk;
use crate::device::slot::running::RunningSlot;
use crate::exit::Failure;
use crate::install::chunks::held::{end, held};
use crate::install::chunks::job::Job;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// Bytes that the idle slot may lack in a row, if there is a delta, before the search ends. An
/// install writes from beginning to end, so an earlier one left its bytes at the beginning.
const PATIENCE: u64 = 1 << 20;

/// The source of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// The idle slot holds it, in its place.
    Here,
    /// The partition of the running slot that holds `image`. `None`: it gives no chunk.
    Copy { from: u64 },
    /// It is part of the dm-verity tree of the data in front of it, and is made here.
    Tree,
    /// The bundle.
    Fetch,
}

/// The sources of the chunks of some jobs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each job, for each chunk.
    sources: Vec<Vec<Source>>,
    /// The slot that copies are read from.
    running: Option<RunningSlot>,
    /// Bytes that are in their places already.
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
    /// Looks for the chunks of `jobs` in the slots. Reads once all that will be overwritten, in 1
    /// MiB of memory, and then asks `running` what it holds. With a delta the search ends after
    /// [`PATIENCE`].
    ///
    /// # Errors
    /// What `interrupt` says. A block that cannot be read counts as not held.
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

    /// Adds an image that begins at byte `start` of the bundle.
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

    /// Returns the parts of the bundle, bytes, that will be read, in this order. More may follow if
    /// a slot does not hold what it seemed to.
    pub(crate) fn missing(&self) -> &[Range<u64>] {
        &self.missing
    }

    /// Returns the sources of the chunks of job number `job`.
    pub(crate) fn sources(&self, job: usize) -> &[Source] {
        self.sources.get(job).map_or(&[], Vec::as_slice)
    }

    /// Returns the partition of the running slot that holds `image`, if it gives anything.
    pub(crate) fn running(&self, image: &str) -> Option<&AnyDisk> {
        self.running.as_ref()?.disk(image)
    }
}

/// Returns the place of the dm-verity tree in an image. Empty if no chunk begins with the tree (in
/// older bundles), or if the tree is too large for memory.
fn tree(image: Option<&Image>, chunks: &[Chunk]) -> Range<u64> {
    let verity =
        image.filter(|image| VerityTree::of(Some(image)).is_some()).and_then(|image| image.verity);
    let is_cut =
        |verity: &Verity| chunks.binary_search_by_key(&verity.size, |chunk| chunk.offset).is_ok();
    verity
        .filter(is_cut)
        .map_or(0..0, |verity| verity.size..verity.size + verity_tree_size(verity.size))
}
