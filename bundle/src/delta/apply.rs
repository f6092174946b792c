//! Makes the chunks of a new bundle from old images and a delta.
//!
//! `workers` apply the patches, and the agent writes the chunks. A chunk leaves this file only if
//! it has the hash of the signed table.

use std::io::Read;
use std::sync::Arc;

use image_layout::Disk;

use crate::delta::header::{Header, zstd_version};
use crate::delta::old_images::OldImages;
use crate::delta::packer::repack::Repacker;
use crate::delta::wire::wrong;
use crate::delta::workers::ahead::{Ahead, Step};
use crate::file::reader;
use crate::image::verity_tree::VerityTree;
use crate::{BundleError, ImageName, Sha256, Verified};

/// The names of the images that a delta makes, in the order of the delta.
pub(super) const IMAGES: [&str; 2] = [ImageName::BOOT, ImageName::ROOT];

/// A delta that is being applied. It gives the chunks of the new bundle's boot image and root
/// image, in their order.
#[derive(Debug)]
pub struct Delta<'a, N, D, R> {
    new: &'a Verified<N>,
    old: Arc<OldImages<D>>,
    records: Ahead<R>,
    /// Number of the image that is being made, and number of its next chunk.
    next: (usize, usize),
    /// Bytes of the current image that the delta has handed out.
    done: u64,
    pending: Pending,
    tree: Option<VerityTree>,
    /// The frame of the last record, for the bytes that are not in `pending` yet.
    frame: Option<Repacker>,
}

/// Bytes that the last record makes and that are not in a chunk yet.
#[derive(Debug)]
enum Pending {
    Bytes { bytes: Vec<u8>, taken: usize },
    Copy { image: u8, offset: u64, len: u64 },
}

impl<'a, N, D: Disk + Send + Sync + 'static, R: Read> Delta<'a, N, D, R> {
    /// Reads the header of `from`. Compares it with the new bundle, with the old bundle, and with
    /// the MiB of `memory` that the delta may take.
    ///
    /// # Errors
    /// `from` is no delta or is for other bundles, or it needs another version of zstd or more
    /// memory.
    pub fn open(
        mut from: R,
        new: &'a Verified<N>,
        old_manifest: Sha256,
        old: OldImages<D>,
        memory: u32,
    ) -> Result<Self, BundleError> {
        let Header { zstd, old: old_sha256, new: new_sha256, memory: needed } =
            Header::read(&mut from)?;
        if new_sha256 != new.manifest_sha256() {
            return Err(wrong("it is for another new bundle"));
        }
        if old_sha256 != old_manifest {
            return Err(wrong("it is for a device that runs another system"));
        }
        let have = zstd_version();
        if zstd != have {
            return Err(wrong(&format!("it needs zstd {zstd}, and this program has {have}")));
        }
        if needed > memory {
            return Err(wrong(&format!(
                "it takes {needed} MiB of memory, and {memory} MiB are allowed"
            )));
        }
        let pending = Pending::Bytes { bytes: Vec::new(), taken: 0 };
        let tree = VerityTree::of(new.manifest().image(IMAGES[0]));
        let old = Arc::new(old);
        let records = Ahead::new(from, needed, &old);
        Ok(Self { new, old, records, next: (0, 0), done: 0, pending, tree, frame: None })
    }

    /// Puts the next chunk into `buf`. Returns the name of the chunk's image and the chunk's index
    /// in the table of that image; `None` behind the last chunk. Never hands out bytes that do not
    /// match their hash.
    ///
    /// # Errors
    /// The delta or an old image cannot be read, or the delta does not make that chunk. After an
    /// error the delta gives no more chunks.
    pub fn next_chunk(
        &mut self,
        buf: &mut Vec<u8>,
    ) -> Result<Option<(&'static str, usize)>, BundleError> {
        let made = self.make(buf);
        if !matches!(made, Ok(Some(_))) {
            buf.clear();
        }
        made
    }

    fn make(&mut self, buf: &mut Vec<u8>) -> Result<Option<(&'static str, usize)>, BundleError> {
        let (image, index) = self.next;
        let Some(name) = IMAGES.get(image).copied() else { return Ok(None) };
        let Some(chunk) = self.new.chunks(name).get(index) else {
            if self.left() > 0 || self.frame.is_some() {
                return Err(wrong("it makes more than the image"));
            }
            let next = IMAGES.get(image + 1).and_then(|name| self.new.manifest().image(name));
            (self.next, self.done, self.tree) = ((image + 1, 0), 0, VerityTree::of(next));
            return self.make(buf);
        };
        buf.clear();
        while buf.len() < chunk.len as usize {
            if self.left() == 0 {
                self.step()?;
            }
            self.take(buf, chunk.len as usize)?;
        }
        if Sha256::of(buf) != chunk.sha256 {
            return Err(reader::damaged(name, index));
        }
        self.next.1 += 1;
        Ok(Some((name, index)))
    }

    /// Returns the number of bytes that the last record still gives.
    fn left(&self) -> u64 {
        match &self.pending {
            Pending::Bytes { bytes, taken } => (bytes.len() - taken) as u64,
            Pending::Copy { len, .. } => *len,
        }
    }

    /// Goes on with the last record, or reads the next record.
    fn step(&mut self) -> Result<(), BundleError> {
        // The memory of the last record is used again.
        let mut used = match &mut self.pending {
            Pending::Bytes { bytes, .. } => std::mem::take(bytes),
            Pending::Copy { .. } => Vec::new(),
        };
        if let Some(frame) = &mut self.frame {
            used.clear();
            if !frame.more(&mut used)? {
                self.frame = None;
            }
            self.pending = Pending::Bytes { bytes: used, taken: 0 };
            return Ok(());
        }
        let made = match self.records.next(used)? {
            Step::Copy { image, offset, len } => {
                self.pending = Pending::Copy { image, offset, len };
                return Ok(());
            }
            Step::Bytes(bytes) => bytes,
            Step::Tree => {
                let tree = self.tree.take().and_then(|tree| tree.finish(self.done));
                tree.ok_or_else(|| wrong("it asks for a dm-verity tree where none belongs"))?
            }
            Step::Frame(frame) => {
                self.frame = Some(Repacker::new(&frame.apply(&self.old)?)?);
                Vec::new()
            }
        };
        self.pending = Pending::Bytes { bytes: made, taken: 0 };
        Ok(())
    }

    /// Moves bytes of the last record to the end of `buf`, until `buf` has `most` bytes.
    fn take(&mut self, buf: &mut Vec<u8>, most: usize) -> Result<(), BundleError> {
        let had = buf.len();
        let len = usize::try_from(self.left()).unwrap_or(usize::MAX).min(most - had);
        match &mut self.pending {
            Pending::Bytes { bytes, taken } => {
                buf.extend_from_slice(&bytes[*taken..][..len]);
                *taken += len;
            }
            Pending::Copy { image, offset, len: left } => {
                buf.resize(had + len, 0);
                self.old.read_at(*image, &mut buf[had..], *offset)?;
                *offset += len as u64;
                *left -= len as u64;
            }
        }
        if let Some(tree) = &mut self.tree {
            tree.update(&buf[had..]);
        }
        self.done += len as u64;
        Ok(())
    }
}
