//! Reads records ahead, so that patches are applied while earlier results are written.
//!
//! `worker` applies a patch. An error is told only when its turn comes, because a delta may end
//! behind its last image.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use image_layout::Disk;

use crate::BundleError;
use crate::delta::limits;
use crate::delta::old_images::OldImages;
use crate::delta::records::frame::Frame;
use crate::delta::records::patch::Patch;
use crate::delta::records::record::Record;
use crate::delta::wire::wrong;
use crate::delta::workers::worker::{Made, Workers};

/// Most records that are read ahead. A record that copies needs hardly any memory.
const RECORDS: usize = 64;

/// The next step of a delta.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next `len` bytes are those of old image `image` from `offset`.
    Copy { image: u8, offset: u64, len: u64 },
    /// The next bytes: a literal, or the result of a patch.
    Bytes(Vec<u8>),
    /// See [`Record::Tree`].
    Tree,
    /// See [`Record::Frame`].
    Frame(Frame),
}

/// The records of a delta in their order. The patches are applied already.
#[derive(Debug)]
pub(crate) struct Ahead<R> {
    from: R,
    /// MiB of memory that the header asks for and the device grants.
    memory: u32,
    workers: Workers,
    queue: VecDeque<Queued>,
    /// Memory of results that were handed on, for the next patches.
    used: Vec<Vec<u8>>,
    /// A patch that is applied only when nothing else is in memory any more.
    large: Option<Patch>,
    /// True if the last record takes memory of its own, or was the end. Then nothing more is read
    /// until the queue is empty.
    is_full: bool,
}

#[derive(Debug)]
enum Queued {
    /// An error waits here for its turn, because a delta may end behind its last image.
    Step(Result<Step, BundleError>),
    /// The result of a worker.
    Patch(Made),
}

impl<R: Read> Ahead<R> {
    /// Returns the records of `from`, behind its header, for a device that holds `old`.
    pub(crate) fn new<D: Disk + Send + Sync + 'static>(
        from: R,
        memory: u32,
        old: &Arc<OldImages<D>>,
    ) -> Self {
        let threads =
            std::thread::available_parallelism().map_or(1, usize::from).min(limits::THREADS);
        Self {
            from,
            memory,
            workers: Workers::new(threads, old),
            queue: VecDeque::new(),
            used: Vec::new(),
            large: None,
            is_full: false,
        }
    }

    /// Returns the next step. `used` is the memory of an earlier result, to be used again.
    /// Otherwise one thread would allocate memory for every patch, and another thread would free
    /// it.
    ///
    /// # Errors
    /// The delta or an old image cannot be read, or a patch contradicts itself.
    pub(crate) fn next(&mut self, mut used: Vec<u8>) -> Result<Step, BundleError> {
        if self.queue.is_empty() {
            self.is_full = false;
        }
        if used.capacity() > 0 && self.used.len() < self.workers.count() {
            used.clear();
            self.used.push(used);
        }
        while !self.is_full
            && self.queue.len() < RECORDS
            && self.in_work() < 2 * self.workers.count()
        {
            self.read();
        }
        match self.queue.pop_front() {
            Some(Queued::Step(step)) => step,
            Some(Queued::Patch(made)) => made.wait().map(Step::Bytes),
            None => Err(wrong("it has no record")),
        }
    }

    /// Returns the number of patches that are being applied or wait for a worker.
    fn in_work(&self) -> usize {
        self.queue.iter().filter(|queued| matches!(queued, Queued::Patch(_))).count()
    }

    /// Puts one more record into the queue.
    fn read(&mut self) {
        let record = match self.large.take() {
            Some(patch) => Ok(Record::Patch(patch)),
            None => Record::read(&mut self.from, self.memory),
        };
        let step = match record {
            Ok(Record::Patch(patch)) => return self.begin(patch),
            Ok(Record::Copy { image, offset, len }) => Ok(Step::Copy { image, offset, len }),
            Ok(Record::Literal(bytes)) => Ok(Step::Bytes(bytes)),
            Ok(Record::Tree) => Ok(Step::Tree),
            Ok(Record::Frame(frame)) => Ok(Step::Frame(frame)),
            Err(error) => Err(error),
        };
        self.is_full = !matches!(step, Ok(Step::Copy { .. }));
        self.queue.push_back(Queued::Step(step));
    }

    /// Hands a patch to a worker, or keeps it until there is room for it.
    fn begin(&mut self, patch: Patch) {
        self.is_full = patch.is_large();
        if patch.is_large() && !self.queue.is_empty() {
            self.large = Some(patch);
            return;
        }
        let made = self.workers.begin(patch, self.used.pop().unwrap_or_default());
        self.queue.push_back(Queued::Patch(made));
    }
}
