//! Reading records ahead, so that the patches among them are applied on several processors at once.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Mutex;

use image_layout::Disk;

use super::apply::OldImages;
use super::record::{Record, wrong};
use super::{Patch, Recompressor, dictionary, limits};
use crate::BundleError;

/// Most records that are read ahead: those that copy need no memory to speak of.
const RECORDS: usize = 64;

/// What the delta says next.
#[derive(Debug)]
pub(super) enum Step {
    /// A record that is still to be followed.
    Record(Record),
    /// What a patch has made.
    Made(Vec<u8>),
}

/// The records of a delta in their order, patches already applied.
#[derive(Debug)]
pub(super) struct Ahead<R> {
    from: R,
    /// MiB that the header asks for, and the device grants.
    memory: u32,
    /// An error is said when its turn comes: a delta may end behind its last image.
    steps: VecDeque<Result<Step, BundleError>>,
    workers: Vec<Worker>,
}

/// What a thread keeps from one patch to the next.
#[derive(Debug, Default)]
struct Worker {
    recompressor: Recompressor,
    dictionary: Vec<u8>,
    packed: Vec<u8>,
}

impl<R: Read> Ahead<R> {
    /// The records of `from`, behind its header.
    pub(super) fn new(from: R, memory: u32) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(limits::THREADS);
        let workers = (0..threads).map(|_| Worker::default()).collect();
        Self { from, memory, steps: VecDeque::new(), workers }
    }

    /// The next step.
    pub(super) fn next(&mut self, old: &OldImages<impl Disk + Sync>) -> Result<Step, BundleError> {
        if self.steps.is_empty() {
            let patches = self.read();
            self.apply(patches, old);
        }
        self.steps.pop_front().unwrap_or_else(|| Err(wrong("it has no record")))
    }

    /// Reads on until there is a patch for each worker, or a record that needs memory of its own. Returns the patches and which
    /// steps they are.
    fn read(&mut self) -> Vec<(usize, Patch)> {
        let mut patches = Vec::new();
        while self.steps.len() < RECORDS && patches.len() < self.workers.len() {
            match Record::read(&mut self.from, self.memory) {
                Ok(Record::Patch(patch)) => {
                    patches.push((self.steps.len(), patch));
                    // Its place.
                    self.steps.push_back(Ok(Step::Made(Vec::new())));
                }
                Ok(record @ Record::Copy { .. }) => self.steps.push_back(Ok(Step::Record(record))),
                Ok(record) => {
                    self.steps.push_back(Ok(Step::Record(record)));
                    break;
                }
                Err(error) => {
                    self.steps.push_back(Err(error));
                    break;
                }
            }
        }
        patches
    }

    fn apply(&mut self, patches: Vec<(usize, Patch)>, old: &OldImages<impl Disk + Sync>) {
        // What takes more memory is made by one thread, one after the other.
        let is_large = patches.iter().any(|(_, patch)| patch.is_large());
        let count = if is_large { 1 } else { patches.len() };
        let patches = Mutex::new(patches.into_iter());
        let work = |worker: &mut Worker| {
            let mut made = Vec::new();
            // The lock is held for taking one, and nothing in that panics.
            while let Some((index, patch)) = patches.lock().ok().and_then(|mut patches| patches.next()) {
                made.push((index, worker.apply(&patch, old)));
            }
            made
        };
        let (mine, others) = match self.workers.split_first_mut() {
            Some((mine, others)) if count > 0 => (mine, &mut others[..count - 1]),
            _ => return,
        };
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = others.iter_mut().map(|worker| scope.spawn(|| work(worker))).collect();
            let mut made = work(mine);
            for thread in threads {
                made.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            made
        });
        for (index, made) in made {
            self.steps[index] = made.map(Step::Made);
        }
    }
}

impl Worker {
    fn apply(&mut self, patch: &Patch, old: &OldImages<impl Disk>) -> Result<Vec<u8>, BundleError> {
        let Self { recompressor, dictionary, packed } = self;
        let mut made = Vec::new();
        dictionary::read(old, &patch.dictionary, packed, dictionary)?;
        patch.apply(dictionary, recompressor, &mut made)?;
        Ok(made)
    }
}
