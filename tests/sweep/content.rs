//! Holds the bytes of a device's partitions in memory, in blocks that copies share.
//!
//! `crash_disk` writes them and `judge` reads them. A crash state differs from the next one in a
//! few blocks, so copies are cheap.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::sync::{Arc, OnceLock};

use image_layout::Disk;

/// Bytes of a block. The size of each partition is a multiple of it.
pub(crate) const BLOCK: usize = 4096;
/// Bytes that a disk writes completely or not at all, even when its power fails.
pub(crate) const SECTOR: usize = 512;

#[derive(Debug)]
struct Block {
    bytes: [u8; BLOCK],
    hash: u64,
}

impl Block {
    fn new(bytes: [u8; BLOCK]) -> Arc<Self> {
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        Arc::new(Self { bytes, hash: hasher.finish() })
    }
}

/// The bytes of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    blocks: Arc<Vec<Arc<Block>>>,
    /// The hash of all blocks, computed when it is first needed.
    hash: OnceLock<u64>,
}

impl Content {
    /// Returns `bytes`, and zeroes up to `len`.
    pub(crate) fn new(bytes: &[u8], len: usize) -> Self {
        assert!(len.is_multiple_of(BLOCK) && bytes.len() <= len, "{} bytes in {len}", bytes.len());
        let zeroes = Block::new([0; BLOCK]);
        let mut content =
            Self { blocks: Arc::new(vec![zeroes; len / BLOCK]), hash: OnceLock::new() };
        content.write(bytes, 0);
        content
    }

    /// Returns the same content with zeroes up to `len`.
    pub(crate) fn padded(&self, len: usize) -> Self {
        let mut padded = Self::new(&[], len);
        padded.splice(self, 0);
        padded
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.iter().all(|block| block.bytes.iter().all(|byte| *byte == 0))
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    pub(crate) fn read(&self, buf: &mut [u8], offset: usize) {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done;
            let count = (BLOCK - at % BLOCK).min(buf.len() - done);
            let block = &self.blocks[at / BLOCK].bytes;
            buf[done..done + count].copy_from_slice(&block[at % BLOCK..at % BLOCK + count]);
            done += count;
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.read(&mut bytes, 0);
        bytes
    }

    pub(crate) fn write(&mut self, bytes: &[u8], offset: usize) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done;
            let count = (BLOCK - at % BLOCK).min(bytes.len() - done);
            let mut new = self.blocks[at / BLOCK].bytes;
            new[at % BLOCK..at % BLOCK + count].copy_from_slice(&bytes[done..done + count]);
            if new != self.blocks[at / BLOCK].bytes {
                self.blocks_mut()[at / BLOCK] = Block::new(new);
            }
            done += count;
        }
    }

    /// Does the same as [`Content::write`] for whole blocks.
    pub(crate) fn splice(&mut self, blocks: &Self, offset: usize) {
        let first = offset / BLOCK;
        self.blocks_mut()[first..first + blocks.blocks.len()].clone_from_slice(&blocks.blocks);
    }

    fn blocks_mut(&mut self) -> &mut Vec<Arc<Block>> {
        self.hash = OnceLock::new();
        Arc::make_mut(&mut self.blocks)
    }

    fn fingerprint(&self) -> u64 {
        *self.hash.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            self.blocks.iter().for_each(|block| hasher.write_u64(block.hash));
            hasher.finish()
        })
    }

    /// Returns true if the first `len` bytes (a multiple of [`BLOCK`]) are those of `other`. It
    /// compares bytes, not only hashes.
    pub(crate) fn begins_like(&self, other: &Self, len: usize) -> bool {
        if Arc::ptr_eq(&self.blocks, &other.blocks) {
            return true;
        }
        let pairs = self.blocks.iter().zip(other.blocks.iter()).take(len / BLOCK);
        pairs
            .into_iter()
            .all(|(a, b)| Arc::ptr_eq(a, b) || (a.hash == b.hash && a.bytes == b.bytes))
    }
}

/// Read-only access: a write is an error.
impl Disk for Content {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset.saturating_add(buf.len()) > self.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read(buf, offset);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The partitions that the agent or GRUB opens.
pub(crate) const LABELS: [&str; 6] = ["esp", "boot-a", "root-a", "boot-b", "root-b", "recovery"];

/// The content of a whole disk, in the order of [`LABELS`].
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    pub(crate) partitions: [Content; 6],
}

impl Medium {
    pub(crate) fn index(label: &str) -> Option<usize> {
        LABELS.iter().position(|known| *known == label)
    }

    pub(crate) fn get(&self, label: &str) -> &Content {
        &self.partitions[Self::index(label).unwrap_or_default()]
    }

    pub(crate) fn get_mut(&mut self, label: &str) -> &mut Content {
        &mut self.partitions[Self::index(label).unwrap_or_default()]
    }

    /// Returns a hash. Two media with the same bytes have the same hash.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for content in &self.partitions {
            hasher.write_u64(content.fingerprint());
        }
        hasher.finish()
    }
}
