//! The beginning of a delta: what the delta is for, and what it needs.
//!
//! `apply` compares the header with the device. Nobody signs a header: it decides which files a
//! program looks at, and nothing else.

use std::io::Read;

use crate::delta::limits;
use crate::delta::wire::wrong;
use crate::{BundleError, Sha256};

/// First bytes of a delta.
const MAGIC: [u8; 16] = *b"daruma delta\0\0\0\0";
/// Bytes of the header of format 1; format 2 has four more.
const SIZE: usize = 16 + 4 + 4 + 32 + 32;

/// What a delta is for. Nobody signs a header: it decides which files a program looks at, and
/// nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The version of the zstd library that compressed the new images, as [`zstd_version`]. Another
    /// version makes other bytes of the same content.
    pub zstd: u32,
    /// SHA-256 of the manifest of the bundle that the device must hold.
    pub old: Sha256,
    /// SHA-256 of the manifest of the bundle whose chunks the delta makes.
    pub new: Sha256,
    /// MiB of memory that a device needs to apply the delta, at least [`limits::MEMORY`].
    pub memory: u32,
}

/// Returns the version of the zstd library in this program: 10507 is 1.5.7.
#[must_use]
pub fn zstd_version() -> u32 {
    zstd::zstd_safe::version_number()
}

impl Header {
    /// Returns the header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // The header has the older format where that format is enough, because every device reads
        // it.
        let (format, memory) = match self.memory {
            ..=limits::MEMORY => (limits::FORMAT, Vec::new()),
            memory => (limits::FORMAT_MEMORY, memory.to_le_bytes().to_vec()),
        };
        let numbers = [format.to_le_bytes(), self.zstd.to_le_bytes()].concat();
        [&MAGIC[..], &numbers, &self.old.0, &self.new.0, &memory].concat()
    }

    /// Reads the header, and nothing behind it.
    ///
    /// # Errors
    /// The bytes cannot be read or are no header. The header is of a later format, or of format 2
    /// and does not need more memory than format 1 has.
    pub fn read(from: &mut impl Read) -> Result<Self, BundleError> {
        let mut bytes = [0; SIZE];
        from.read_exact(&mut bytes).map_err(BundleError::read("the header of the delta"))?;
        let (magic, rest) = bytes.split_at(MAGIC.len());
        let (words, hashes) = rest.as_chunks::<4>().0.split_at(2);
        if magic != MAGIC {
            return Err(BundleError::Delta("it is none".to_owned()));
        }
        let memory = match u32::from_le_bytes(words[0]) {
            limits::FORMAT => limits::MEMORY,
            limits::FORMAT_MEMORY => {
                let mut memory = [0; 4];
                from.read_exact(&mut memory)
                    .map_err(BundleError::read("the header of the delta"))?;
                match u32::from_le_bytes(memory) {
                    ..=limits::MEMORY => {
                        return Err(wrong("it is of format 2 and takes no more than format 1"));
                    }
                    memory => memory,
                }
            }
            _ => return Err(BundleError::Delta("it is of a later format".to_owned())),
        };
        let (old, new) = hashes.as_flattened().split_at(32);
        let zstd = u32::from_le_bytes(words[1]);
        let mut header = Self { zstd, old: Sha256([0; 32]), new: Sha256([0; 32]), memory };
        header.old.0.copy_from_slice(old);
        header.new.0.copy_from_slice(new);
        Ok(header)
    }
}
