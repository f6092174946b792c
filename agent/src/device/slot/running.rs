//! The running slot as a source of chunks: its partitions, and the chunks that it claims to hold.
//!
//! `install` chooses chunks and hashes each of them. Nothing writes to a slot while it runs, so a
//! thread may read it during other work.

use std::fmt;
use std::thread::{Builder, JoinHandle};

use bundle::{Chunk, ImageName, SlotChunks};
use image_layout::{Disk, Slot};

use crate::console::say;
use crate::device::disk::opener::{Access, AnyDisk};
use crate::device::machine::Device;

/// The running slot's partitions, open for reading.
pub(crate) struct RunningSlot {
    boot: AnyDisk,
    root: AnyDisk,
    chunks: SlotChunks,
}

/// A running slot that a thread is reading. Nothing writes to a slot while it runs.
pub struct Reading {
    slot: Slot,
    thread: JoinHandle<Result<RunningSlot, String>>,
}

impl Reading {
    /// Begins to read the running slot of `device`. `None`: no slot runs (this is recovery), or no
    /// thread could be started.
    #[must_use]
    pub fn begin(device: &Device) -> Option<Self> {
        let slot = device.running().ok()?;
        let open = |label: &str| -> Result<AnyDisk, String> {
            let path = device.partition(label).map_err(|failure| failure.message)?;
            device.open(path, Access::Look).map_err(|error| format!("{}: {error}", path.display()))
        };
        let partitions = (open(slot.boot_label()), open(slot.root_label()));
        let read = move || -> Result<RunningSlot, String> {
            let (boot, root) = (partitions.0?, partitions.1?);
            let capacity = root.size().map_err(|error| error.to_string())?;
            let chunks = SlotChunks::read(&boot, capacity).map_err(|error| error.to_string())?;
            Ok(RunningSlot { boot, root, chunks })
        };
        Some(Self { slot, thread: Builder::new().spawn(read).ok()? })
    }

    /// Waits until the slot is read. `None`: the slot cannot be used, and a line has said why. An
    /// install goes on without it.
    pub(crate) fn finish(self) -> Option<RunningSlot> {
        let Self { slot, thread } = self;
        match thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Ok(running) => {
                if running.chunks.root.is_none() {
                    say(format_args!(
                        "slot {slot} has no chunk table of its root image (an older daruma-bundler \
                            made the slot): nothing of the slot can be used again"
                    ));
                }
                Some(running)
            }
            Err(cause) => {
                say(format_args!("nothing of the running slot {slot} can be used again: {cause}"));
                None
            }
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl RunningSlot {
    /// Returns the chunks that the slot says it holds of `image`.
    pub(crate) fn chunks(&self, image: &str) -> &[Chunk] {
        match image {
            ImageName::BOOT => &self.chunks.boot,
            _ => self.chunks.root.as_deref().unwrap_or_default(),
        }
    }

    /// Returns the partition that holds `image`.
    pub(crate) fn disk(&self, image: &str) -> Option<&AnyDisk> {
        match image {
            ImageName::BOOT => Some(&self.boot),
            ImageName::ROOT => Some(&self.root),
            _ => None,
        }
    }
}

impl fmt::Debug for RunningSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningSlot").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}
