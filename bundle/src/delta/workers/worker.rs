//! Threads that apply patches.
//!
//! `ahead` hands out the patches in order. Each thread keeps its memory from one patch to the next.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use image_layout::Disk;
use zstd::zstd_safe::DCtx;

use crate::BundleError;
use crate::delta::old_images::OldImages;
use crate::delta::packer::recompress::Recompressor;
use crate::delta::records::patch::Patch;
use crate::delta::wire::wrong;
use crate::delta::workers::dictionary;

/// The result of a patch, as soon as a worker has made it.
#[derive(Debug)]
pub(crate) struct Made(Receiver<Result<Vec<u8>, BundleError>>);

/// A patch, an empty vector for the result, and the place where the result goes.
type Work = (Patch, Vec<u8>, SyncSender<Result<Vec<u8>, BundleError>>);

/// The threads. A free thread takes the patch that waits longest. The threads end when this value
/// is dropped.
#[derive(Debug)]
pub(crate) struct Workers {
    /// `None`: the threads are to end.
    patches: Option<Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads, on a device that holds `old`.
    pub(crate) fn new<D: Disk + Send + Sync + 'static>(
        count: usize,
        old: &Arc<OldImages<D>>,
    ) -> Self {
        let (patches, to_apply) = channel::<Work>();
        let to_apply = Arc::new(Mutex::new(to_apply));
        let worker = |_| {
            let (to_apply, old) = (Arc::clone(&to_apply), Arc::clone(old));
            thread::spawn(move || {
                let mut memory = Memory::default();
                loop {
                    let next = to_apply.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((patch, out, made)) = next else { return };
                    // Sending fails if nobody wants the result any more.
                    let _ = made.send(memory.apply(&patch, &old, out));
                }
            })
        };
        Self { patches: Some(patches), threads: (0..count).map(worker).collect() }
    }

    /// Returns the number of threads.
    pub(crate) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Hands the threads a patch, and an empty vector for the result.
    pub(crate) fn begin(&self, patch: Patch, out: Vec<u8>) -> Made {
        let (sender, made) = sync_channel(1);
        if let Some(patches) = &self.patches {
            // If the threads are gone, `Made::wait` says so.
            let _ = patches.send((patch, out, sender));
        }
        Made(made)
    }
}

impl Made {
    /// Waits for the result of the patch.
    ///
    /// # Errors
    /// An old image cannot be read, or the patch contradicts itself.
    pub(crate) fn wait(&self) -> Result<Vec<u8>, BundleError> {
        self.0.recv().unwrap_or_else(|_| Err(wrong("a thread that applies patches has failed")))
    }
}

/// The memory that a worker keeps from one patch to the next. So a worker allocates nothing large
/// for a patch.
#[derive(Default)]
struct Memory {
    unpacking: DCtx<'static>,
    packing: Recompressor,
    /// An old block as it lies in the image.
    packed: Vec<u8>,
    /// The contents of the old blocks, then the streams of the patch, then the contents of the new
    /// blocks.
    dictionary: Vec<u8>,
    streams: Vec<u8>,
    content: Vec<u8>,
}

impl Memory {
    /// Returns the new blocks as they lie in the image, in the memory of `out`.
    fn apply<D: Disk>(
        &mut self,
        patch: &Patch,
        old: &OldImages<D>,
        mut out: Vec<u8>,
    ) -> Result<Vec<u8>, BundleError> {
        let Self { unpacking, packing, packed, dictionary, streams, content } = self;
        let dictionary = dictionary::read(old, &patch.dictionary, unpacking, packed, dictionary)?;
        patch.mix.apply(dictionary, unpacking, streams, content)?;
        packing.pack(content, &patch.outputs, &mut out)?;
        Ok(out)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.patches = None;
        for thread in self.threads.drain(..) {
            // If the thread panicked, the missing result has said so.
            let _ = thread.join();
        }
    }
}
