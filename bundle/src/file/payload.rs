//! Verifies every byte of a payload, on two processors and in little memory.
//!
//! `reader` verifies the signatures and the tables first. The payload takes the calling thread and
//! one more thread, with a buffer of 1 MiB each.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use image_layout::Disk;
use sha2::Digest;

use crate::file::reader::damaged;
use crate::value::limits;
use crate::{BundleError, Chunk, Image, ManifestError, Sha256, StoredSquashfs, Verified};

/// Bytes of one read, and the size of a thread's one buffer.
const READ: usize = limits::CHUNK as usize;

/// Neighbouring chunks that one read takes together.
struct Run<'a> {
    name: &'a str,
    image: &'a Image,
    first: usize,
    chunks: &'a [Chunk],
}

impl<D: Disk + Sync> Verified<D> {
    /// Verifies every byte in front of the tail: the frame against `frame-sha256`, and every chunk
    /// against its table. Uses the calling thread and one more thread, with a buffer of 1 MiB each.
    /// Calls `progress` on the calling thread with the number of bytes that are verified. The whole
    /// is [`crate::BundleInfo::size`] bytes.
    ///
    /// # Errors
    /// The bundle cannot be read, or a part of it does not match its hash.
    pub fn verify_payload(&self, progress: &mut dyn FnMut(u64)) -> Result<(), BundleError> {
        let manifest = self.manifest();
        let images: u64 = manifest.images.values().map(|image| image.size).sum();
        self.verify_frame()?;
        let frame = manifest.bundle.size - images;
        progress(frame);
        let runs = self.runs();
        let next = AtomicUsize::new(0);
        let done = AtomicU64::new(frame);
        let work = |tick: &mut dyn FnMut(u64)| -> Result<(), BundleError> {
            let mut buf = vec![0; images.min(READ as u64) as usize];
            while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                // After a failure the other thread need not go on.
                let len = self
                    .verify_run(run, &mut buf)
                    .inspect_err(|_| next.store(runs.len(), Ordering::Relaxed))?;
                tick(done.fetch_add(len, Ordering::Relaxed) + len);
            }
            Ok(())
        };
        let mut most = frame;
        let mut tick = |done: u64| {
            most = most.max(done);
            progress(most);
        };
        if images <= READ as u64 {
            // A second thread is not worth its cost here.
            return work(&mut tick);
        }
        std::thread::scope(|scope| {
            // If there is no second thread, the first does all the work.
            let second = std::thread::Builder::new().spawn_scoped(scope, || work(&mut |_| ()));
            let first = work(&mut tick);
            let second = second.map_or(Ok(()), |thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            first.and(second)
        })?;
        progress(manifest.bundle.size);
        Ok(())
    }

    fn runs(&self) -> Vec<Run<'_>> {
        let mut runs = Vec::new();
        for (name, image) in &self.manifest().images {
            let mut chunks = self.chunks(name.as_str());
            let mut first = 0;
            while let Some(begin) = chunks.first().map(|chunk| chunk.offset) {
                let fits =
                    |chunk: &Chunk| chunk.offset - begin + u64::from(chunk.len) <= READ as u64;
                let count = chunks.iter().take_while(|chunk| fits(chunk)).count();
                let (run, rest) = chunks.split_at(count);
                runs.push(Run { name: name.as_str(), image, first, chunks: run });
                first += count;
                chunks = rest;
            }
        }
        runs
    }

    /// Verifies one run, and returns the run's length in bytes.
    fn verify_run(&self, run: &Run<'_>, buf: &mut [u8]) -> Result<u64, BundleError> {
        let len: usize = run.chunks.iter().map(|chunk| chunk.len as usize).sum();
        let begin = run.chunks.first().map_or(0, |chunk| chunk.offset);
        let mut rest = &mut buf[..len];
        self.disk
            .read_at(rest, run.image.offset + begin)
            .map_err(BundleError::read("the payload of the bundle"))?;
        for (index, chunk) in run.chunks.iter().enumerate() {
            let (bytes, behind) = rest.split_at_mut(chunk.len as usize);
            rest = behind;
            if Sha256::of(bytes) != chunk.sha256 {
                return Err(damaged(run.name, run.first + index));
            }
        }
        Ok(len as u64)
    }

    fn verify_frame(&self) -> Result<(), BundleError> {
        let manifest = self.manifest();
        let hash = hash_ranges(&self.disk, frame(manifest.images.values(), manifest.bundle.size))?;
        if hash != manifest.bundle.frame_sha256 {
            return Err(BundleError::Content("the SquashFS around the images".to_owned()));
        }
        Ok(())
    }
}

impl<D: Disk> Verified<D> {
    /// Verifies the SHA-256 of each image as a whole. Verifies that the SquashFS has each image
    /// under its file name and in its place. An install does not rely on these, because the chunk
    /// tables and the frame already cover every byte. The bundler calls this, because its user
    /// publishes them.
    ///
    /// # Errors
    /// The bundle cannot be read, an image does not match its hash, or the SquashFS disagrees with
    /// the manifest.
    pub fn verify_images(&self) -> Result<(), BundleError> {
        let files = StoredSquashfs::list(&self.disk)?;
        for (name, image) in &self.manifest().images {
            let file = files.iter().find(|file| file.name == image.filename);
            if file.is_none_or(|file| (file.offset, file.size) != (image.offset, image.size)) {
                let why =
                    format!("the SquashFS has no {} of that size in that place", image.filename);
                return Err(ManifestError::at(&format!("image.{name}"), why).into());
            }
            if hash_ranges(&self.disk, std::iter::once(image.offset..image.offset + image.size))?
                != image.sha256
            {
                return Err(BundleError::Content(format!("image {name}")));
            }
        }
        Ok(())
    }
}

/// Returns the parts of a SquashFS of `size` bytes that are not in `images`. The images come in the
/// order of their offsets.
pub(crate) fn frame<'a>(images: impl IntoIterator<Item = &'a Image>, size: u64) -> Vec<Range<u64>> {
    let mut free = 0;
    let mut parts = Vec::new();
    for image in images {
        parts.push(free..image.offset);
        free = image.offset + image.size;
    }
    parts.push(free..size);
    parts
}

/// Returns the SHA-256 of the bytes in `ranges`, one after the other.
pub(crate) fn hash_ranges(
    disk: &impl Disk,
    ranges: impl IntoIterator<Item = Range<u64>>,
) -> Result<Sha256, BundleError> {
    let mut hash = sha2::Sha256::new();
    let mut buf = vec![0; 64 << 10];
    for mut range in ranges {
        while range.start < range.end {
            let len = (range.end - range.start).min(buf.len() as u64);
            let part = &mut buf[..len as usize]; // at most the buffer
            disk.read_at(part, range.start).map_err(BundleError::read("the bundle"))?;
            hash.update(part);
            range.start += len;
        }
    }
    Ok(Sha256::finish(hash))
}
