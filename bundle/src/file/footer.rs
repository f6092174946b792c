//! The last 64 bytes of a bundle: how to find everything else from the end.
//!
//! `reader` reads the parts that the footer points to.
//!
//! All numbers are little endian. Every byte has a meaning, so that a reader notices a change of
//! any bit:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 16 | `"daruma bundle\0\0\0"` |
//! | 16 | 4 | format, 1 |
//! | 20 | 4 | bytes of the manifest |
//! | 24 | 8 | bytes of the whole file |
//! | 32 | 8 | bytes of the SquashFS with its padding: the tail begins here |
//! | 40 | 4 | bytes of the chunk tables |
//! | 44 | 4 | bytes of the signatures |
//! | 48 | 16 | first 16 bytes of the SHA-256 of the signatures followed by bytes 0 to 47 |
//!
//! The check does not protect against an attacker, who can compute it; the signature does. The
//! check finds damage in signatures by keys that this reader does not know.

use crate::value::limits;
use crate::{BundleError, Sha256};

const MAGIC: &[u8; 16] = b"daruma bundle\0\0\0";

/// Sizes of the parts of a bundle, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) file: u64,
    pub(crate) squashfs: u64,
    pub(crate) tables: usize,
    pub(crate) manifest: usize,
    pub(crate) signatures: usize,
}

impl Footer {
    /// Returns the footer's bytes. `signatures` is the block that the footer's check covers.
    pub(crate) fn encode(&self, signatures: &[u8]) -> Result<[u8; limits::FOOTER], BundleError> {
        let too_large =
            || BundleError::Input("the tail is larger than 1 MiB; bundle less".to_owned());
        let size =
            |bytes: usize| u32::try_from(bytes).map(u32::to_le_bytes).map_err(|_| too_large());
        let mut footer = [0; limits::FOOTER];
        footer[..16].copy_from_slice(MAGIC);
        footer[16..20].copy_from_slice(&limits::FORMAT.to_le_bytes());
        footer[20..24].copy_from_slice(&size(self.manifest)?);
        footer[24..32].copy_from_slice(&self.file.to_le_bytes());
        footer[32..40].copy_from_slice(&self.squashfs.to_le_bytes());
        footer[40..44].copy_from_slice(&size(self.tables)?);
        footer[44..48].copy_from_slice(&size(self.signatures)?);
        let check = check(signatures, &footer);
        footer[48..].copy_from_slice(&check);
        if self.file - self.squashfs > limits::TAIL {
            return Err(too_large());
        }
        Ok(footer)
    }

    /// Reads the footer of a file of `file_size` bytes. [`Footer::covers`] compares the check
    /// later, because a reader must know the place of the signatures before it can read them.
    pub(crate) fn decode(
        footer: &[u8; limits::FOOTER],
        file_size: u64,
    ) -> Result<Self, BundleError> {
        let torn = |why: String| Err(BundleError::Torn(why));
        let u32_at = |at: usize| u64_at(footer, at) as u32; // the lower half
        let small = |at: usize| usize::try_from(u32_at(at)).unwrap_or(usize::MAX);
        if &footer[..16] != MAGIC {
            return Err(BundleError::NotABundle);
        }
        if u32_at(16) != limits::FORMAT {
            return Err(BundleError::Format(u32_at(16)));
        }
        let read = Self {
            file: u64_at(footer, 24),
            squashfs: u64_at(footer, 32),
            tables: small(40),
            manifest: small(20),
            signatures: small(44),
        };
        if read.file != file_size {
            return torn(format!(
                "the footer says {} bytes and the file has {file_size}",
                read.file
            ));
        }
        let Some(tail) = file_size.checked_sub(read.squashfs) else {
            return torn("the SquashFS is said to be larger than the file".to_owned());
        };
        if tail > limits::TAIL {
            return torn("the tail is larger than 1 MiB".to_owned());
        }
        if read.manifest > limits::MANIFEST {
            return torn("the manifest is larger than 64 KiB".to_owned());
        }
        let parts = [read.tables, read.manifest, read.signatures, limits::FOOTER];
        if parts.into_iter().map(|part| part as u64).sum::<u64>() != tail {
            return torn("the parts of the tail do not add up to it".to_owned());
        }
        Ok(read)
    }

    /// Returns true if the check in `footer` is that of `signatures` and of the footer itself.
    pub(crate) fn covers(footer: &[u8; limits::FOOTER], signatures: &[u8]) -> bool {
        check(signatures, footer) == footer[48..]
    }
}

fn check(signatures: &[u8], footer: &[u8; limits::FOOTER]) -> [u8; 16] {
    let hash = Sha256::of(&[signatures, &footer[..48]].concat());
    let mut check = [0; 16];
    check.copy_from_slice(&hash.0[..16]);
    check
}

/// Returns eight bytes at `at` as a little-endian number. `at` is at most 56.
fn u64_at(footer: &[u8; limits::FOOTER], at: usize) -> u64 {
    footer[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
