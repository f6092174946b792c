//! A small bundle, made of fixed bytes with fixed keys, and a writer of tails.
//!
//! The writer of tails follows the documentation alone.
// Each test program uses a part of this file.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bundle::{
    Bundle, BundleError, BundleWriter, ImageInput, Keyring, Salt, SecretKey, Sha256, Update,
    Verified, Verity,
};
use image_layout::FileDisk;

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

pub fn keyring(seeds: &[u8], threshold: usize) -> Keyring {
    Keyring::new(seeds.iter().map(|&seed| key(seed).public()), threshold).unwrap()
}

/// Returns `len` bytes that do not repeat. They are the same every time (xorshift64, seeded).
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

pub fn update(version: &str) -> Update {
    Update {
        compatible: "router".parse().unwrap(),
        version: version.parse().unwrap(),
        build: "2026-11-21".parse().unwrap(),
        description: " A router;\nwith \\ and ü".to_owned(),
        min_version: "0.9.0".parse().unwrap(),
    }
}

/// Writes `DIR/sample.daruma` with images of these sizes in bytes, signed by keys of these seeds.
pub fn write(dir: &Path, boot_size: usize, root_size: usize, seeds: &[u8]) -> PathBuf {
    let (boot, root, out) = (dir.join("boot"), dir.join("root"), dir.join("sample.daruma"));
    std::fs::write(&boot, noise(1, boot_size)).unwrap();
    std::fs::write(&root, noise(2, root_size)).unwrap();
    let data = root_size as u64 / 4096 * 120 / 128 / 4096 * 4096;
    let verity = Verity { hash: Sha256([1; 32]), salt: Salt([2; 32]), size: data.max(4096) };
    let keys: Vec<SecretKey> = seeds.iter().map(|&seed| key(seed)).collect();
    let meta = [("made".to_owned(), "by a test".to_owned())];
    let writer = BundleWriter {
        update: update("1.2.3-rc.1+build.7"),
        images: vec![
            ImageInput { name: "root".parse().unwrap(), path: &root, verity: Some(verity) },
            ImageInput { name: "boot".parse().unwrap(), path: &boot, verity: None },
        ],
        meta: BTreeMap::from([("sample".to_owned(), BTreeMap::from(meta))]),
        keys: &keys,
    };
    writer.write(&out).unwrap();
    out
}

/// Writes the smallest possible bundle.
pub fn small(dir: &Path, seeds: &[u8]) -> PathBuf {
    write(dir, 4096, 4096, seeds)
}

pub fn open(path: &Path, keyring: &Keyring) -> Result<Verified<FileDisk>, BundleError> {
    Bundle::open(FileDisk::open_read_only(path).unwrap(), keyring)
}

/// Opens and verifies everything, as an install does.
pub fn accept(path: &Path, keyring: &Keyring) -> Result<(), BundleError> {
    open(path, keyring)?.verify_payload(&mut |_| ())
}

/// A bundle taken apart and put together again as docs/bundle-format.md says. This is what a maker
/// with a trusted key and bad intentions can do.
#[derive(Clone)]
pub struct Parts {
    pub squashfs: Vec<u8>,
    pub tables: Vec<u8>,
    pub manifest: String,
    /// Key id and signature of each signer.
    pub signatures: Vec<u8>,
}

impl Parts {
    pub fn of(file: &[u8]) -> Self {
        let footer = &file[file.len() - 64..];
        let small = |at: usize| u32::from_le_bytes(footer[at..at + 4].try_into().unwrap()) as usize;
        let squashfs = u64::from_le_bytes(footer[32..40].try_into().unwrap()) as usize;
        let (manifest, tables, signatures) = (small(20), small(40), small(44));
        let (squashfs, rest) = file.split_at(squashfs);
        let (tables, rest) = rest.split_at(tables);
        let (manifest, rest) = rest.split_at(manifest);
        Self {
            squashfs: squashfs.to_vec(),
            tables: tables.to_vec(),
            manifest: String::from_utf8(manifest.to_vec()).unwrap(),
            signatures: rest[4..signatures].to_vec(),
        }
    }

    pub fn signed_by(mut self, seeds: &[u8]) -> Self {
        let mut signatures: Vec<_> =
            seeds.iter().map(|&seed| key(seed).sign(self.manifest.as_bytes())).collect();
        signatures.sort_by_key(|signature| signature.key);
        self.signatures =
            signatures.iter().flat_map(|s| [&s.key.0[..], &s.bytes[..]].concat()).collect();
        self
    }

    /// Returns the file. `lie` changes the footer before its check is computed.
    pub fn file(&self, lie: impl FnOnce(&mut [u8; 64])) -> Vec<u8> {
        let count = (self.signatures.len() / 72) as u32;
        let signatures = [&count.to_le_bytes()[..], &self.signatures].concat();
        let tail = self.tables.len() + self.manifest.len() + signatures.len() + 64;
        let mut footer = [0; 64];
        footer[..16].copy_from_slice(b"daruma bundle\0\0\0");
        footer[16..20].copy_from_slice(&1u32.to_le_bytes());
        footer[20..24].copy_from_slice(&(self.manifest.len() as u32).to_le_bytes());
        footer[24..32].copy_from_slice(&((self.squashfs.len() + tail) as u64).to_le_bytes());
        footer[32..40].copy_from_slice(&(self.squashfs.len() as u64).to_le_bytes());
        footer[40..44].copy_from_slice(&(self.tables.len() as u32).to_le_bytes());
        footer[44..48].copy_from_slice(&(signatures.len() as u32).to_le_bytes());
        lie(&mut footer);
        let check = Sha256::of(&[&signatures, &footer[..48]].concat());
        footer[48..].copy_from_slice(&check.0[..16]);
        [&self.squashfs[..], &self.tables, self.manifest.as_bytes(), &signatures, &footer].concat()
    }
}
