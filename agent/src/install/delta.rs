//! Makes the chunks of a bundle from a delta and the running slot.
//!
//! `bundle::delta` applies the delta. `chunks::reader` asks for each chunk and hashes it. A delta
//! that fails is no error: the other chunks come from the bundle.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use bundle::delta::{Delta, OldImages};
use bundle::{BundleError, Sha256, Verified};
use image_layout::Slot;

use crate::console::say;
use crate::device::Device;
use crate::device::disk::opener::Access;
use crate::exit::Failure;

/// Puts the next chunk into the buffer and says which one it is.
type Next<'a> =
    Box<dyn FnMut(&mut Vec<u8>) -> Result<Option<(&'static str, usize)>, BundleError> + Send + 'a>;

/// A delta that is being applied. If it fails, the remaining chunks come from elsewhere.
pub(crate) struct DeltaSource<'a> {
    /// `None` when it has failed or has given everything.
    next: Mutex<Option<Next<'a>>>,
}

impl<'a> DeltaSource<'a> {
    /// Begins to apply the delta `from` to the running slot. The slot holds the bundle with the
    /// manifest `old`; the result is `new`. Takes at most `memory_mib` of memory.
    ///
    /// # Errors
    /// The running slot cannot be opened. Or the delta does not lead from `old` to `new`, or needs
    /// another program or more memory.
    pub(crate) fn open<N: Sync>(
        device: &Device,
        running: Slot,
        old: Sha256,
        new: &'a Verified<N>,
        from: impl Read + Send + 'a,
        memory_mib: u32,
    ) -> Result<Self, String> {
        let partition = |label: &str| {
            let path = device.partition(label).map_err(|failure| failure.message)?;
            device
                .open(path, Access::Look)
                .map_err(|error| format!("opening {}: {error}", path.display()))
        };
        let images = OldImages {
            boot: partition(running.boot_label())?,
            root: partition(running.root_label())?,
        };
        let mut delta =
            Delta::open(from, new, old, images, memory_mib).map_err(|error| error.to_string())?;
        let next: Next<'a> = Box::new(move |buf| delta.next_chunk(buf));
        Ok(Self { next: Mutex::new(Some(next)) })
    }

    /// Puts chunk `index` of `image` into `buf`. Chunks are asked for in their order. False: the
    /// delta does not give this chunk, and will give no other.
    pub(crate) fn take(&self, image: &str, index: usize, buf: &mut Vec<u8>) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match next.as_mut().map(|next| next(buf)) {
                None => return false,
                Some(Ok(Some(made))) if made == (image, index) => return true,
                // The slot holds this chunk already.
                Some(Ok(Some(_))) => {}
                Some(Ok(None)) => *next = None,
                Some(Err(error)) => {
                    *next = None;
                    say(format_args!("the delta: {error}; the rest comes as chunks of the bundle"));
                }
            }
        }
    }
}

/// Returns the warning for a delta that cannot be used. The update goes on without this delta, so
/// this is no failure.
pub(crate) fn unusable(cause: &Failure) -> String {
    format!("{cause}; the update goes on without this delta")
}
