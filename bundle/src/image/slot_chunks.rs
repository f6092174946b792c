//! The chunks that a slot holds, found from the slot alone.
//!
//! The agent reads the slot for a bundle.
//!
//! The boot image of a slot has a file [`ROOT_CHUNKS`]: the root image's chunk table, encoded as in
//! a bundle's tail. The boot image's own chunks follow from its files. Nobody needs to trust
//! either. A bundle that wants a chunk compares the chunk's hash with its own signed table.

use std::collections::BTreeSet;

use image_layout::Disk;

use crate::image::squashfs::padded;
use crate::image::{chunk, cut};
use crate::value::limits;
use crate::{BundleError, Chunk, Sha256, StoredFile, StoredSquashfs};

/// The file of a boot image that holds the chunk table of the root image.
pub const ROOT_CHUNKS: &str = "root.chunks";

/// The first bytes of a zstd frame.
const FRAME: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// Bytes that are compared with the beginning of a part.
const LINE: usize = 16;
/// Bytes of one read in the search for parts; a multiple of [`limits::BLOCK`].
const PIECE: u64 = 1 << 20;

/// The chunks that a slot says it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotChunks {
    /// The chunks of its boot image, hashed from what is there.
    pub boot: Vec<Chunk>,
    /// The chunks of its root image, as its boot image claims. `None`: the bundler that made the
    /// boot image wrote no table.
    pub root: Option<Vec<Chunk>>,
}

impl SlotChunks {
    /// Reads the slot whose boot partition is `boot`. Reads all of the boot image and nothing of
    /// the root image. The root partition holds at most `root_capacity` bytes.
    ///
    /// # Errors
    /// The partition cannot be read, or holds no boot image or a table that cannot be one.
    pub fn read(boot: &impl Disk, root_capacity: u64) -> Result<Self, BundleError> {
        let files = StoredSquashfs::list(boot)?;
        let mut used = [0; 8];
        boot.read_at(&mut used, 40).map_err(BundleError::read("the superblock of the image"))?;
        // `list` has compared it with the size of the partition.
        let size = padded(u64::from_le_bytes(used));
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
        Ok(Self { boot: boot_chunks(boot, size, &files)?, root })
    }

    /// Returns the content of [`ROOT_CHUNKS`] for the image `root`. The image is cut at
    /// `boundaries`, where its blocks begin and end.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn root_table(
        root: &impl Disk,
        boundaries: &BTreeSet<u64>,
    ) -> Result<Vec<u8>, BundleError> {
        let size = root.size().map_err(BundleError::read("the size of an image"))?;
        Ok(chunk::encode(&chunk::hash(root, 0, &cut::cut(size, boundaries, cut::ROOT))?))
    }

    /// Returns where the boot image `boot` of these `files` is cut:
    ///
    /// - where a file begins, and where its padding ends;
    /// - where a zstd frame begins on a multiple of 4096 in a file (an archive of an initramfs);
    /// - where an update of Intel's microcode begins on a multiple of 16 in a file.
    ///
    /// # Errors
    /// The image cannot be read.
    pub fn boot_boundaries(
        boot: &impl Disk,
        files: &[StoredFile],
    ) -> Result<BTreeSet<u64>, BundleError> {
        let mut boundaries = file_boundaries(files);
        let mut piece = Vec::new();
        for StoredFile { offset, size, .. } in files.iter().filter(|file| file.size > 0) {
            let end = offset + size;
            for place in (*offset..end).step_by(PIECE as usize) {
                piece.resize((end - place).min(PIECE) as usize, 0); // at most 1 MiB
                boot.read_at(&mut piece, place)
                    .map_err(BundleError::read("a file of the image"))?;
                boundaries.extend(parts(&piece, place));
            }
        }
        Ok(boundaries)
    }
}

/// Returns where the files begin, and where their padding ends.
fn file_boundaries(files: &[StoredFile]) -> BTreeSet<u64> {
    let used = files.iter().filter(|file| file.size > 0);
    used.flat_map(|file| [file.offset, padded(file.offset + file.size)]).collect()
}

/// Returns where zstd frames and updates of microcode begin in `bytes`, a part of a file at
/// `place`. A file begins on a multiple of 4096, and so does `bytes` in it.
fn parts(bytes: &[u8], place: u64) -> impl Iterator<Item = u64> {
    let lines = (place..).step_by(LINE).zip(bytes.chunks(LINE));
    let begins = |(at, line): &(u64, &[u8])| {
        (at % limits::BLOCK == 0 && line.starts_with(&FRAME)) || is_microcode(line)
    };
    lines.filter(begins).map(|(at, _)| at)
}

/// Whether a line is the beginning of an update of Intel's microcode. It has four numbers,
/// little-endian: the header's version 1, the revision, the date in BCD (month, day, year), the
/// processor's signature.
fn is_microcode(line: &[u8]) -> bool {
    let Ok(line) = <&[u8; LINE]>::try_from(line) else { return false };
    let [year_low, year_high, day, month] = [line[8], line[9], line[10], line[11]];
    line[..4] == [1, 0, 0, 0]
        && matches!(year_high, 0x19 | 0x20)
        && year_low <= 0x99
        && (1..=0x31).contains(&day)
        && (1..=0x12).contains(&month)
        && line[15] == 0
}

/// Returns the chunks of the boot image of `size` bytes. Reads the image once, unless it has so
/// many parts that neighbours are joined.
fn boot_chunks(
    boot: &impl Disk,
    size: u64,
    files: &[StoredFile],
) -> Result<Vec<Chunk>, BundleError> {
    let is_in_file =
        |at: &u64| files.iter().any(|file| (file.offset..file.offset + file.size).contains(at));
    let mut boundaries = file_boundaries(files);
    let (mut chunks, mut begin) = (Vec::new(), 0);
    // The bytes from `begin` on that are read and not hashed: less than a piece and a chunk.
    let mut bytes = Vec::new();
    for place in (0..size).step_by(PIECE as usize) {
        let (known, had) = (size.min(place + PIECE), bytes.len());
        bytes.resize(had + (known - place) as usize, 0); // at most 1 MiB more
        boot.read_at(&mut bytes[had..], place).map_err(BundleError::read("an image"))?;
        boundaries.extend(parts(&bytes[had..], place).filter(is_in_file));
        let mut hashed = 0;
        while begin < known {
            let len = cut::next(begin, size, &boundaries);
            // A part that is not read yet may cut this chunk shorter.
            if begin + u64::from(len) > known {
                break;
            }
            let chunk = &bytes[hashed..hashed + len as usize];
            chunks.push(Chunk { offset: begin, len, sha256: Sha256::of(chunk) });
            (begin, hashed) = (begin + u64::from(len), hashed + len as usize);
        }
        bytes.drain(..hashed);
    }
    if chunks.len() <= cut::BOOT {
        return Ok(chunks);
    }
    chunk::hash(boot, 0, &cut::cut(size, &boundaries, cut::BOOT))
}
