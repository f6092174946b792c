//! Compresses a kernel again as the zstd program did when the kernel was built.
//!
//! `frame` says what the content is. The program compresses in one job of a worker, and only that
//! makes the same bytes.

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective::{ZSTD_e_continue, ZSTD_e_end};
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, get_error_name};

use crate::BundleError;
use crate::delta::limits;

/// Level of a kernel's frame.
const LEVEL: i32 = 22;
/// Most bytes of the frame that one call asks zstd for.
const PIECE: usize = 128 << 10;

/// Makes the frame that `zstd -22 --ultra` makes of what comes through a pipe. The window is 128
/// MiB, because a pipe does not say how much will come. The frame has a checksum, and one job of a
/// worker makes it.
pub struct Repacker {
    context: CCtx<'static>,
}

impl std::fmt::Debug for Repacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Repacker")
    }
}

impl Repacker {
    /// Takes in the whole `content`. The worker begins with the first call of [`Repacker::more`].
    ///
    /// # Errors
    /// `content` is longer than [`limits::FRAME`], or there is no memory for it.
    pub fn new(content: &[u8]) -> Result<Self, BundleError> {
        let len = u32::try_from(content.len()).ok().filter(|len| *len <= limits::FRAME);
        let len = len.ok_or_else(|| failed("its content is larger than 128 MiB"))?;
        let mut context = CCtx::try_create().ok_or_else(|| failed("there is no memory"))?;
        // The job is as long as the content, so there is only one job. The program has one job too,
        // because its jobs are 512 MiB long.
        let job = (len + 1).next_multiple_of(1 << 20);
        for parameter in [
            CParameter::CompressionLevel(LEVEL),
            CParameter::ChecksumFlag(true),
            CParameter::NbWorkers(1),
            CParameter::JobSize(job),
        ] {
            context.set_parameter(parameter).map_err(|code| failed(get_error_name(code)))?;
        }
        let mut none = [0; PIECE];
        let mut input = InBuffer::around(content);
        while input.pos() < content.len() {
            let mut output = OutBuffer::around(&mut none[..]);
            context
                .compress_stream2(&mut output, &mut input, ZSTD_e_continue)
                .map_err(|code| failed(get_error_name(code)))?;
            if output.pos() > 0 {
                return Err(failed("it began before its content was complete"));
            }
        }
        Ok(Self { context })
    }

    /// Appends the next bytes of the frame to `out`. Returns false if they were the last.
    ///
    /// # Errors
    /// zstd fails: there is no memory.
    pub fn more(&mut self, out: &mut Vec<u8>) -> Result<bool, BundleError> {
        let before = out.len();
        out.reserve(PIECE);
        let mut output = OutBuffer::around_pos(out, before);
        let left =
            self.context.compress_stream2(&mut output, &mut InBuffer::around(&[]), ZSTD_e_end);
        Ok(left.map_err(|code| failed(get_error_name(code)))? > 0)
    }
}

fn failed(why: &str) -> BundleError {
    BundleError::Delta(format!("compressing a kernel again failed: {why}"))
}
