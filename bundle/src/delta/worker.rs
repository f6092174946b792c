//! A thread that applies patches.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use image_layout::Disk;
use zstd::zstd_safe::DCtx;

use super::apply::OldImages;
use super::record::wrong;
use super::{Patch, Recompressor, dictionary};
use crate::BundleError;

/// The thread, what goes to it and what comes back. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    /// `None`: it is to end.
    patches: Option<Sender<(Patch, Vec<u8>)>>,
    made: Receiver<Result<Vec<u8>, BundleError>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts it, on a device that holds `old`.
    pub(super) fn new<D: Disk + Send + Sync + 'static>(old: Arc<OldImages<D>>) -> Self {
        let (patches, to_apply) = channel::<(Patch, Vec<u8>)>();
        let (done, made) = channel();
        let thread = thread::spawn(move || {
            let mut memory = Memory::default();
            for (patch, out) in to_apply {
                if done.send(memory.apply(&patch, &old, out)).is_err() {
                    return; // nobody wants it any more
                }
            }
        });
        Self { patches: Some(patches), made, thread: Some(thread) }
    }

    /// Hands it a patch, and an empty vector for what it makes.
    pub(super) fn begin(&self, patch: Patch, out: Vec<u8>) {
        // If the thread is gone, `made` says so.
        let _ = self.patches.as_ref().map(|patches| patches.send((patch, out)));
    }

    /// Waits for what the oldest patch makes that has not been asked for.
    ///
    /// # Errors
    /// An old image cannot be read, or the patch contradicts itself.
    pub(super) fn made(&self) -> Result<Vec<u8>, BundleError> {
        self.made.recv().unwrap_or_else(|_| Err(wrong("a thread that applies patches has failed")))
    }
}

/// What a worker keeps from one patch to the next, so that nothing large is allocated anew.
#[derive(Default)]
struct Memory {
    unpacking: DCtx<'static>,
    packing: Recompressor,
    /// An old block as it lies.
    packed: Vec<u8>,
    /// The contents of the old blocks, the streams of the patch, and what they make: the contents of the new blocks.
    dictionary: Vec<u8>,
    streams: Vec<u8>,
    content: Vec<u8>,
}

impl Memory {
    /// The new blocks as they lie in the image, in `out`.
    fn apply<D: Disk>(
        &mut self,
        patch: &Patch,
        old: &OldImages<D>,
        mut out: Vec<u8>,
    ) -> Result<Vec<u8>, BundleError> {
        let Self { unpacking, packing, packed, dictionary, streams, content } = self;
        dictionary::read(old, &patch.dictionary, unpacking, packed, dictionary)?;
        patch.mix.apply(dictionary, unpacking, streams, content)?;
        packing.pack(content, &patch.outputs, &mut out)?;
        Ok(out)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.patches = None;
        // A panic of the thread was said by the missing result.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
