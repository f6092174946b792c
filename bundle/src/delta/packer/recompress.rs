//! Compresses blocks again as libsquashfs did.
//!
//! `apply` checks the bytes by the hash of the chunk. Only the same version of zstd makes the same
//! bytes.

use zstd::zstd_safe::{CCtx, compress_bound, get_error_name};

use crate::BundleError;
use crate::delta::records::patch::{Output, Packing};

/// A context of zstd, which keeps its memory.
pub struct Recompressor {
    context: CCtx<'static>,
    /// Memory for one compressed block.
    packed: Vec<u8>,
}

impl std::fmt::Debug for Recompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recompressor")
    }
}

impl Recompressor {
    /// Returns a recompressor without memory. It takes memory with its first block.
    #[must_use]
    pub fn new() -> Self {
        Self { context: CCtx::create(), packed: Vec::new() }
    }

    /// Splits `content` into blocks, compresses them, and appends them to `out` one after the
    /// other.
    ///
    /// # Errors
    /// The lengths do not add up, or zstd fails.
    pub fn pack(
        &mut self,
        content: &[u8],
        outputs: &[Output],
        out: &mut Vec<u8>,
    ) -> Result<(), BundleError> {
        let mut rest = content;
        for output in outputs {
            let block = rest.split_at_checked(output.len as usize);
            let (block, behind) =
                block.ok_or_else(|| failed("blocks are longer than their content"))?;
            rest = behind;
            match output.packing {
                Packing::Stored => out.extend_from_slice(block),
                Packing::Zstd(level) => {
                    self.packed.clear();
                    self.packed.reserve(compress_bound(block.len()));
                    let compressed =
                        self.context.compress(&mut self.packed, block, i32::from(level));
                    compressed.map_err(|code| failed(get_error_name(code)))?;
                    out.extend_from_slice(&self.packed);
                }
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(failed("blocks are shorter than their content")) }
    }
}

impl Default for Recompressor {
    fn default() -> Self {
        Self::new()
    }
}

fn failed(why: &str) -> BundleError {
    BundleError::Delta(format!("compressing a block again failed: {why}"))
}
