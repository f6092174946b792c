//! Bundles in memory, whose file has only zeros in front of its end.
//!
//! `bundles` and `delta` read them. Two keys sign them, and only these tests trust the keys.

use std::io;
use std::sync::LazyLock;

use bundle::{Keyring, SecretKey, Sha256, limits};
use image_layout::Disk;

/// A file of `size` bytes that ends in `tail`.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(crate) size: u64,
    pub(crate) tail: Vec<u8>,
}

impl Disk for Tail {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(buf.len() as u64 <= limits::TAIL, "a read of more than 1 MiB");
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let begin = self.size - self.tail.len() as u64;
        for (byte, at) in buf.iter_mut().zip(offset..) {
            *byte = at.checked_sub(begin).map_or(0, |index| self.tail[index as usize]);
        }
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("a bundle is never written to")
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) const MAGIC: &[u8; 16] = b"daruma bundle\0\0\0";

/// Returns a footer as in docs/bundle-format.md, with its check.
pub(crate) fn footer(
    file: u64,
    squashfs: u64,
    parts: [usize; 3],
    signatures: &[u8],
) -> [u8; limits::FOOTER] {
    let [tables, manifest, block] = parts;
    let mut footer = [0; limits::FOOTER];
    footer[..16].copy_from_slice(MAGIC);
    footer[16..20].copy_from_slice(&limits::FORMAT.to_le_bytes());
    footer[20..24].copy_from_slice(&(manifest as u32).to_le_bytes());
    footer[24..32].copy_from_slice(&file.to_le_bytes());
    footer[32..40].copy_from_slice(&squashfs.to_le_bytes());
    footer[40..44].copy_from_slice(&(tables as u32).to_le_bytes());
    footer[44..48].copy_from_slice(&(block as u32).to_le_bytes());
    seal(&mut footer, signatures);
    footer
}

/// Makes the check of a footer right.
pub(crate) fn seal(footer: &mut [u8; limits::FOOTER], signatures: &[u8]) {
    let check = Sha256::of(&[signatures, &footer[..48]].concat());
    footer[48..].copy_from_slice(&check.0[..16]);
}

/// Returns a whole bundle: these parts behind a SquashFS of `squashfs` zeros.
pub(crate) fn bundle(squashfs: u64, tables: &[u8], manifest: &str, signatures: &[u8]) -> Tail {
    let len = tables.len() + manifest.len() + signatures.len() + limits::FOOTER;
    let size = squashfs + len as u64;
    let footer =
        footer(size, squashfs, [tables.len(), manifest.len(), signatures.len()], signatures);
    Tail { size, tail: [tables, manifest.as_bytes(), signatures, &footer].concat() }
}

/// Returns the block with the signatures of these keys.
pub(crate) fn sign(manifest: &[u8], keys: &[&SecretKey]) -> Vec<u8> {
    let mut signatures: Vec<_> = keys.iter().map(|key| key.sign(manifest)).collect();
    signatures.sort_by_key(|signature| signature.key);
    let entry = |s: &bundle::Signature| [&s.key.0[..], &s.bytes[..]].concat();
    [&(keys.len() as u32).to_le_bytes()[..], &signatures.iter().flat_map(entry).collect::<Vec<_>>()]
        .concat()
}

/// The keys that the targets trust. They have no other use.
pub(crate) static KEYS: LazyLock<[SecretKey; 2]> =
    LazyLock::new(|| [1, 2].map(|seed| SecretKey::from_seed([seed; 32])));

/// Returns a keyring of both keys.
pub(crate) fn keyring(threshold: usize) -> Keyring {
    Keyring::new(KEYS.iter().map(SecretKey::public), threshold).unwrap()
}
