//! Reads the bytes of an image, each chunk from the source in the plan.
//!
//! `plan` may be wrong, and then the chunk comes from the bundle. Every chunk is hashed before a
//! byte of it leaves this file.

use std::ops::Range;

use bundle::{Chunk, Sha256, Verified, VerityTree};
use image_layout::Disk;

use crate::device::disk::opener::AnyDisk;
use crate::device::slot::target::{ALIGNMENT, PIECE, Piece};
use crate::exit::Failure;
use crate::install::chunks::delta_way::DeltaWay;
use crate::install::chunks::job::Job;
use crate::install::chunks::plan::{Plan, Source};

/// Reads one image from its beginning to its end. Every chunk is hashed before a byte of it is
/// handed out.
pub(crate) struct ChunkReader<'a, D> {
    bundle: &'a Verified<D>,
    job: &'a Job,
    chunks: &'a [Chunk],
    /// Empty: all chunks come from the bundle.
    sources: &'a [Source],
    running: Option<&'a AnyDisk>,
    delta: Option<DeltaWay<'a>>,
    index: usize,
    /// True if `chunk` holds chunk number `index`.
    is_loaded: bool,
    chunk: Vec<u8>,
    /// For reading blocks that are in their places. Made when it is needed.
    aligned: Option<Piece>,
    /// The tree of the data read so far, if the plan is to make the tree. `None` when that cannot
    /// succeed any more, and as long as a delta makes its own tree.
    growing: Option<VerityTree>,
    /// True if the plan is to make the tree, and the delta makes it. False once the delta has
    /// failed.
    delta_makes_tree: bool,
    /// The tree, when all data has been read.
    tree: Vec<u8>,
}

impl<'a, D: Disk> ChunkReader<'a, D> {
    /// Returns a reader of the image of `jobs[number]`.
    pub(crate) fn new(
        bundle: &'a Verified<D>,
        plan: Option<&'a Plan>,
        delta: Option<DeltaWay<'a>>,
        jobs: &'a [Job],
        number: usize,
    ) -> Self {
        let job = &jobs[number];
        let sources = plan.map_or(&[][..], |plan| plan.sources(number));
        let makes_tree = sources.contains(&Source::Tree);
        let image = bundle.manifest().image(job.image);
        Self {
            bundle,
            job,
            chunks: bundle.chunks(job.image),
            sources,
            running: plan.and_then(|plan| plan.running(job.image)),
            delta,
            index: 0,
            is_loaded: false,
            chunk: Vec::new(),
            aligned: None,
            growing: VerityTree::of(image.filter(|_| makes_tree && delta.is_none())),
            delta_makes_tree: makes_tree && delta.is_some(),
            tree: Vec::new(),
        }
    }

    /// Fills `buf` with the bytes at `offset` of the image. Each call reads behind the call before.
    /// Returns the number of bytes. Only if the delta ended before the tree that it would have
    /// made, they are fewer than `buf` has. Then the caller calls [`ChunkReader::begin_tree`] and
    /// goes on.
    ///
    /// # Errors
    /// The bundle cannot be read, or a chunk does not match its hash.
    pub(crate) fn fill(&mut self, mut buf: &mut [u8], mut offset: u64) -> Result<usize, Failure> {
        let length = buf.len();
        while !buf.is_empty() {
            let Some(chunk) = self.chunks.get(self.index) else { break };
            let Some(within) =
                offset.checked_sub(chunk.offset).filter(|within| *within < u64::from(chunk.len))
            else {
                self.index += 1;
                self.is_loaded = false;
                continue;
            };
            if !self.is_loaded {
                self.is_loaded = self.load(*chunk)?;
                if !self.is_loaded {
                    return Ok(length - buf.len());
                }
            }
            let from = &self.chunk[within as usize..]; // less than 2^32
            let count = buf.len().min(from.len());
            let (here, rest) = buf.split_at_mut(count);
            here.copy_from_slice(&from[..count]);
            if let Some(growing) = &mut self.growing {
                growing.update(here);
            }
            (buf, offset) = (rest, offset + count as u64);
        }
        Ok(length)
    }

    /// Begins the tree anew, with the first `end` bytes of the image, which are all in their place,
    /// and with the `bytes` that follow them.
    pub(crate) fn begin_tree(&mut self, end: u64, bytes: &[u8]) {
        self.delta_makes_tree = false;
        self.growing = VerityTree::of(self.bundle.manifest().image(self.job.image));
        self.pass_over(&(0..end));
        if let Some(growing) = &mut self.growing {
            growing.update(bytes);
        }
    }

    /// Skips the bytes `range` of the image, which are in their place. If the tree is to be made,
    /// they are read, because the tree covers them too.
    pub(crate) fn pass_over(&mut self, range: &Range<u64>) {
        let Some(growing) = &mut self.growing else { return };
        let piece = self.aligned.take().filter(|piece| piece.len() >= PIECE);
        let piece = self.aligned.insert(piece.unwrap_or_else(Piece::new));
        for offset in range.clone().step_by(PIECE) {
            let length = usize::try_from(range.end - offset).map_or(PIECE, |left| left.min(PIECE));
            let bytes = &mut piece.bytes_mut()[..length];
            if self.job.target.read(bytes, offset).is_err() {
                self.growing = None; // the tree is fetched
                return;
            }
            growing.update(bytes);
        }
    }

    /// Loads chunk number `index`. False: the delta has ended, and the tree must be begun anew
    /// first.
    fn load(&mut self, chunk: Chunk) -> Result<bool, Failure> {
        let source = self.sources.get(self.index);
        if let Some(delta) = self.delta.filter(|_| source != Some(&Source::Here)) {
            if (delta.take)(self.job.image, self.index, &mut self.chunk) {
                return Ok(true);
            }
            self.delta = None;
            if self.delta_makes_tree {
                return Ok(false);
            }
        }
        let is_had = match source {
            Some(Source::Here) => self.load_in_place(&chunk),
            Some(Source::Copy { from }) => self.load_copy(&chunk, *from),
            Some(Source::Tree) => self.load_tree(&chunk),
            Some(Source::Fetch) | None => false,
        };
        if is_had && Sha256::of(&self.chunk) == chunk.sha256 {
            return Ok(true);
        }
        let read = self.bundle.read_chunk(self.job.image, self.index, &mut self.chunk);
        read.map(|()| true).map_err(|error| {
            Failure::from_bundle("reading the bundle again while installing it", &error)
        })
    }

    fn load_copy(&mut self, chunk: &Chunk, from: u64) -> bool {
        self.chunk.resize(chunk.len as usize, 0);
        self.running.is_some_and(|disk| disk.read_at(&mut self.chunk, from).is_ok())
    }

    fn load_tree(&mut self, chunk: &Chunk) -> bool {
        let image = self.bundle.manifest().image(self.job.image);
        let Some(verity) = image.and_then(|image| image.verity) else { return false };
        if let Some(growing) = self.growing.take() {
            self.tree = growing.finish(verity.size).unwrap_or_default();
        }
        let begin = (chunk.offset - verity.size) as usize; // less than a tree
        let Some(part) = self.tree.get(begin..begin + chunk.len as usize) else { return false };
        self.chunk.clear();
        self.chunk.extend_from_slice(part);
        true
    }

    /// Reads a chunk that is in its place, because it shares a block with one that is not.
    fn load_in_place(&mut self, chunk: &Chunk) -> bool {
        let align = ALIGNMENT as u64;
        let start = chunk.offset / align * align;
        let end = (chunk.offset + u64::from(chunk.len)).next_multiple_of(align);
        // A chunk and two blocks at most.
        let room = usize::try_from(end - start).unwrap_or(usize::MAX);
        let piece = self.aligned.take().filter(|piece| piece.len() >= room);
        let piece = self.aligned.insert(piece.unwrap_or_else(|| Piece::with_room(room)));
        let bytes = &mut piece.bytes_mut()[..room];
        if self.job.target.read(bytes, start).is_err() {
            return false;
        }
        let begin = (chunk.offset - start) as usize; // less than a block
        self.chunk.clear();
        self.chunk.extend_from_slice(&bytes[begin..begin + chunk.len as usize]);
        true
    }
}
