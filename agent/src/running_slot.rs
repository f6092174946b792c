//! The running slot as a source of chunks: its partitions, and what it says lies in them.

use std::fmt;

use bundle::{Chunk, ImageName, SlotChunks};
use image_layout::{Disk, Slot};

use crate::console::say;
use crate::device::Device;
use crate::opener::{Access, AnyDisk};

/// The running slot's partitions, open for reading.
pub(crate) struct RunningSlot {
    boot: AnyDisk,
    root: AnyDisk,
    chunks: SlotChunks,
}

impl RunningSlot {
    /// Opens `slot`, which is never written to while it runs. `None`: it cannot be used, which a line says; an install
    /// goes on without it.
    pub(crate) fn open(device: &Device, slot: Slot) -> Option<Self> {
        let open = |label: &str| -> Result<AnyDisk, String> {
            let path = device.partition(label).map_err(|failure| failure.message)?;
            device.open(path, Access::Look).map_err(|error| format!("{}: {error}", path.display()))
        };
        let read = || -> Result<Self, String> {
            let (boot, root) = (open(slot.boot_label())?, open(slot.root_label())?);
            let capacity = root.size().map_err(|error| error.to_string())?;
            let chunks = SlotChunks::read(&boot, capacity).map_err(|error| error.to_string())?;
            Ok(Self { boot, root, chunks })
        };
        match read() {
            Ok(running) => {
                if running.chunks.root.is_none() {
                    say(format_args!(
                        "slot {slot} does not say what its root image consists of (it was made by an older daruma-bundler): nothing of it can be used again"
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

    /// The chunks that the slot says it holds of `image`.
    pub(crate) fn chunks(&self, image: &str) -> &[Chunk] {
        match image {
            ImageName::BOOT => &self.chunks.boot,
            _ => self.chunks.root.as_deref().unwrap_or_default(),
        }
    }

    /// The partition that holds `image`.
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
