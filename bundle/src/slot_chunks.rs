//! What a slot holds, in chunks, by what lies in the slot alone.
//!
//! The root image's chunk table is a file of the boot image of the same slot, [`ROOT_CHUNKS`], encoded as in a bundle's
//! tail; the boot image's own chunks follow from its files. Neither is a matter of trust: what is found
//! by them is hashed against the signed table of the bundle that wants it.

use std::collections::BTreeSet;

use image_layout::Disk;

use crate::squashfs::padded;
use crate::{BundleError, Chunk, StoredFile, StoredSquashfs, chunk, cut};

/// The file of a boot image that is the chunk table of the root image.
pub const ROOT_CHUNKS: &str = "root.chunks";

/// The chunks that a slot says it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotChunks {
    /// Of its boot image: hashed from what is there.
    pub boot: Vec<Chunk>,
    /// Of its root image: what its boot image claims. `None`: it was made by a bundler that said nothing of it.
    pub root: Option<Vec<Chunk>>,
}

impl SlotChunks {
    /// Reads the slot whose boot partition is `boot`: all of the boot image, and nothing of the root image, of which the
    /// partition holds at most `root_capacity` bytes.
    ///
    /// # Errors
    /// The partition cannot be read, or holds no boot image or a table that cannot be one.
    pub fn read(boot: &impl Disk, root_capacity: u64) -> Result<Self, BundleError> {
        let files = StoredSquashfs::list(boot)?;
        let mut used = [0; 8];
        boot.read_at(&mut used, 40).map_err(BundleError::read("the superblock of the image"))?;
        // `list` has held it against the size of the partition.
        let lengths = cut::cut(padded(u64::from_le_bytes(used)), &boundaries(&files), cut::BOOT);
        let root = match files.iter().any(|file| file.name.as_str() == ROOT_CHUNKS) {
            true => {
                let table = StoredSquashfs::read_file(boot, ROOT_CHUNKS)?;
                let wrong = |why| BundleError::Squashfs(format!("{ROOT_CHUNKS}: {why}"));
                let size = chunk::size(&table);
                let chunks = chunk::decode(&table, size).map_err(wrong)?;
                if size > root_capacity {
                    return Err(wrong("it is of an image larger than the partition"));
                }
                Some(chunks)
            }
            false => None,
        };
        Ok(Self { boot: chunk::hash(boot, 0, &lengths)?, root })
    }

    /// The content of [`ROOT_CHUNKS`] for the image `root`, which is cut at `boundaries`: where its blocks begin and end.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn root_table(root: &impl Disk, boundaries: &BTreeSet<u64>) -> Result<Vec<u8>, BundleError> {
        let size = root.size().map_err(BundleError::read("the size of an image"))?;
        Ok(chunk::encode(&chunk::hash(root, 0, &cut::cut(size, boundaries, cut::ROOT))?))
    }
}

/// Where a boot image is cut: where its files begin, and where the last one ends.
pub(crate) fn boundaries(files: &[StoredFile]) -> BTreeSet<u64> {
    let files = || files.iter().filter(|file| file.size > 0);
    files().map(|file| file.offset).chain(files().map(|file| padded(file.offset + file.size))).collect()
}
