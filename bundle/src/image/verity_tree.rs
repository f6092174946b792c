//! Computes the dm-verity tree of data that goes by, as `veritysetup` writes it.
//!
//! The manifest has the salt and the hash of the root. The form is SHA-256, blocks of 4096 bytes,
//! and no superblock.

use sha2::Digest;

use crate::value::limits;
use crate::{Image, Salt, Sha256, verity_tree_size};

/// Most bytes of a tree that a device computes and holds in memory. This is the tree of 1 GiB of
/// data.
pub(crate) const LIMIT: u64 = 9 << 20;

/// Hashes of the blocks that went by: 32 bytes for each 4096.
pub struct VerityTree {
    salt: Salt,
    /// Bytes of data.
    size: u64,
    seen: u64,
    block: sha2::Sha256,
    hashes: Vec<u8>,
}

impl std::fmt::Debug for VerityTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerityTree({} of {} bytes)", self.seen, self.size)
    }
}

impl VerityTree {
    /// Returns an empty tree for the data of `image`. Returns `None` if the image has no tree, or a
    /// tree too large for memory.
    #[must_use]
    pub fn of(image: Option<&Image>) -> Option<Self> {
        let verity = image?.verity.as_ref()?;
        (verity_tree_size(verity.size) <= LIMIT).then(|| Self::new(verity.salt, verity.size))
    }

    fn new(salt: Salt, size: u64) -> Self {
        Self { salt, size, seen: 0, block: salted(&salt), hashes: Vec::new() }
    }

    /// Takes the next bytes of the image. Bytes behind the data do not count.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let left = usize::try_from(self.size - self.seen).unwrap_or(usize::MAX);
        bytes = &bytes[..left.min(bytes.len())];
        while !bytes.is_empty() {
            let space = (limits::BLOCK - self.seen % limits::BLOCK) as usize; // at most a block
            let (now, later) = bytes.split_at(space.min(bytes.len()));
            self.block.update(now);
            self.seen += now.len() as u64;
            bytes = later;
            if self.seen.is_multiple_of(limits::BLOCK) {
                let block = std::mem::replace(&mut self.block, salted(&self.salt));
                self.hashes.extend(Sha256::finish(block).0);
            }
        }
    }

    /// Returns the tree, top level first, if exactly the data went by: `done` bytes.
    #[must_use]
    pub fn finish(self, done: u64) -> Option<Vec<u8>> {
        if self.seen != self.size || done != self.size {
            return None;
        }
        let mut levels: Vec<Vec<u8>> = Vec::new();
        let mut hashes = self.hashes;
        while hashes.len() > Sha256::of(&[]).0.len() {
            hashes.resize(hashes.len().next_multiple_of(limits::BLOCK as usize), 0);
            let mut above = Vec::with_capacity(hashes.len() / 128);
            for block in hashes.chunks(limits::BLOCK as usize) {
                above.extend(Sha256::finish(salted(&self.salt).chain_update(block)).0);
            }
            levels.push(std::mem::replace(&mut hashes, above));
        }
        levels.reverse();
        Some(levels.concat())
    }
}

fn salted(salt: &Salt) -> sha2::Sha256 {
    sha2::Sha256::new().chain_update(salt.0)
}
