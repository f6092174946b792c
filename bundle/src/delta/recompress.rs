//! Compressing blocks again as libsquashfs did.

use std::sync::atomic::{AtomicUsize, Ordering};

use zstd::zstd_safe::{CCtx, compress_bound, get_error_name};

use super::limits;
use super::patch::{Output, Packing};
use crate::BundleError;

/// Contexts of zstd, one a thread, which keep their memory.
pub struct Recompressor {
    contexts: Vec<CCtx<'static>>,
}

impl std::fmt::Debug for Recompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recompressor({} threads)", self.contexts.len())
    }
}

impl Recompressor {
    /// One context for each processor, at most [`limits::THREADS`].
    #[must_use]
    pub fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(limits::THREADS);
        Self { contexts: (0..threads).map(|_| CCtx::create()).collect() }
    }

    /// Appends to `out` the blocks that `content` is the contents of, one after the other.
    ///
    /// # Errors
    /// The lengths do not add up, or zstd fails.
    pub fn pack(&mut self, content: &[u8], outputs: &[Output], out: &mut Vec<u8>) -> Result<(), BundleError> {
        let mut rest = content;
        let mut blocks = Vec::with_capacity(outputs.len());
        for output in outputs {
            let block = rest.split_at_checked(output.len as usize);
            let (block, behind) = block.ok_or_else(|| failed("blocks are longer than their content"))?;
            blocks.push((block, output.packing));
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(failed("blocks are shorter than their content"));
        }
        // Each thread takes the next block when it is done with its last: blocks differ in how long they take.
        let next = AtomicUsize::new(0);
        let work = |context: &mut CCtx<'_>| -> Result<Vec<(usize, Vec<u8>)>, BundleError> {
            let mut packed = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((block, packing)) = blocks.get(index) else { return Ok(packed) };
                packed.push((index, pack(context, block, *packing)?));
            }
        };
        let (mine, others) = self.contexts.split_first_mut().ok_or_else(|| failed("there is no thread"))?;
        let count = others.len().min(blocks.len().saturating_sub(1));
        let others = &mut others[..count];
        let mut packed = std::thread::scope(|scope| {
            let threads: Vec<_> = others.iter_mut().map(|context| scope.spawn(|| work(context))).collect();
            let mut packed = work(mine)?;
            for thread in threads {
                packed.extend(thread.join().unwrap_or_else(|_| Err(failed("a thread failed")))?);
            }
            Ok::<_, BundleError>(packed)
        })?;
        packed.sort_unstable_by_key(|(index, _)| *index);
        packed.iter().for_each(|(_, block)| out.extend_from_slice(block));
        Ok(())
    }
}

impl Default for Recompressor {
    fn default() -> Self {
        Self::new()
    }
}

fn pack(context: &mut CCtx<'_>, block: &[u8], packing: Packing) -> Result<Vec<u8>, BundleError> {
    match packing {
        Packing::Stored => Ok(block.to_vec()),
        Packing::Zstd(level) => {
            let mut packed = Vec::with_capacity(compress_bound(block.len()));
            context
                .compress(&mut packed, block, i32::from(level))
                .map_err(|code| failed(get_error_name(code)))?;
            Ok(packed)
        }
    }
}

fn failed(why: &str) -> BundleError {
    BundleError::Delta(format!("compressing a block again failed: {why}"))
}
