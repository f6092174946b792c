//! What a slot says of itself: the boot image carries the root's chunk table. Both agree with the
//! signed table.

#![allow(clippy::unwrap_used)] // a test may

mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bundle::{
    BundleError, BundleWriter, ImageInput, ROOT_CHUNKS, Salt, Sha256, SlotChunks, StoredSquashfs,
    Verity,
};
use image_layout::{Disk, FileDisk};
use proptest::prelude::*;
use sample::noise;

const ROOT: usize = 600 << 10;

fn disk(path: &Path) -> FileDisk {
    FileDisk::open_read_only(path).unwrap()
}

/// Makes `boot` and `root` in `dir`. The boot image says that the root is cut at `boundaries`.
fn images(dir: &Path, boundaries: &[u64]) -> (PathBuf, PathBuf) {
    let (boot, root) = (dir.join("boot.img"), dir.join("root.img"));
    std::fs::write(&root, noise(2, ROOT)).unwrap();
    let table =
        SlotChunks::root_table(&disk(&root), &BTreeSet::from_iter(boundaries.iter().copied()))
            .unwrap();
    write_boot(&boot, &noise(1, 300_000), Some(table));
    (boot, root)
}

fn write_boot(path: &Path, kernel: &[u8], table: Option<Vec<u8>>) {
    let mut boot = StoredSquashfs::new();
    boot.add_bytes("vmlinuz", kernel).unwrap().add_bytes("initrd", noise(9, 200_000)).unwrap();
    if let Some(table) = table {
        boot.add_bytes(ROOT_CHUNKS, table).unwrap();
    }
    boot.write_to(path).unwrap();
}

fn bundled(boot: &Path, root: &Path, out: &Path) -> Result<(), BundleError> {
    let verity = Verity { hash: Sha256([1; 32]), salt: Salt([2; 32]), size: 4096 };
    let writer = BundleWriter {
        update: sample::update("1.2.3"),
        images: vec![
            ImageInput { name: "boot".parse().unwrap(), path: boot, verity: None },
            ImageInput { name: "root".parse().unwrap(), path: root, verity: Some(verity) },
        ],
        meta: BTreeMap::new(),
        keys: &[sample::key(1)],
    };
    writer.write(out).map(|_| ())
}

#[test]
fn a_slot_says_the_same_as_the_bundle_that_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let (boot, root) = images(dir.path(), &[4096, 100_000, 333_333]);
    let out = dir.path().join("out.daruma");
    bundled(&boot, &root, &out).unwrap();
    let verified = sample::open(&out, &sample::keyring(&[1], 1)).unwrap();
    verified.verify_payload(&mut |_| ()).unwrap();
    let slot = SlotChunks::read(&disk(&boot), ROOT as u64).unwrap();
    assert_eq!(slot.boot, verified.chunks("boot"));
    assert_eq!(slot.root.as_deref(), Some(verified.chunks("root")));
    let begins: Vec<u64> = verified.chunks("root").iter().map(|chunk| chunk.offset).collect();
    assert!([0, 4096, 100_000, 333_333].iter().all(|place| begins.contains(place)), "{begins:?}");
}

#[test]
fn a_file_of_a_boot_image_is_the_same_chunks_behind_one_that_grew() {
    let dir = tempfile::tempdir().unwrap();
    let hashes = |kernel: usize| -> BTreeSet<Sha256> {
        let boot = dir.path().join("boot.img");
        write_boot(&boot, &noise(kernel as u64, kernel), None);
        let slot = SlotChunks::read(&disk(&boot), 0).unwrap();
        assert_eq!(slot.root, None);
        slot.boot.iter().map(|chunk| chunk.sha256).collect()
    };
    // Superblock, inodes and kernel differ. The initramfs has two chunks and does not differ.
    assert_eq!(hashes(300_000).intersection(&hashes(290_001)).count(), 2);
}

#[test]
fn an_archive_that_did_not_change_is_the_same_chunks_in_front_of_one_that_did() {
    let dir = tempfile::tempdir().unwrap();
    let frame = |seed, len: usize, padded: usize| {
        let mut frame = [&0xFD2F_B528_u32.to_le_bytes()[..], &noise(seed, len)].concat();
        frame.resize(padded, 0);
        frame
    };
    // 140,000 bytes are a piece of 128 KiB, and a rest that ends where the second archive begins.
    let hashes = |second: u64| -> Vec<(u64, Sha256)> {
        let initrd = [frame(1, 140_000, 143_360), frame(second, 50_000, 50_004)].concat();
        let path = dir.path().join("boot.img");
        StoredSquashfs::new().add_bytes("initrd", initrd).unwrap().write_to(&path).unwrap();
        let chunks = SlotChunks::read(&disk(&path), 0).unwrap().boot;
        chunks.iter().map(|chunk| (chunk.offset, chunk.sha256)).collect()
    };
    let (old, new) = (hashes(2), hashes(3));
    let places: Vec<u64> = old.iter().skip(1).take(4).map(|(offset, _)| offset - 4096).collect();
    assert_eq!(places, [0, 128 << 10, 143_360, 143_360 + 53_248]);
    assert_eq!(old[..3], new[..3], "superblock and first archive");
    assert_ne!(old[3], new[3]);
}

#[test]
fn an_update_of_microcode_that_did_not_change_is_the_same_chunks_behind_one_that_grew() {
    let dir = tempfile::tempdir().unwrap();
    let update = |seed: u64, len: usize| {
        let mut update = noise(seed, len);
        // Version, revision, date in BCD, signature (06-55-04).
        for (at, number) in [1u32, 0x0200_0065, 0x0514_2025, 0x0005_0654].into_iter().enumerate() {
            update[at * 4..at * 4 + 4].copy_from_slice(&number.to_le_bytes());
        }
        update
    };
    let hashes = |first: usize| -> BTreeSet<Sha256> {
        let archive = noise(9, 464); // the entries in front, a multiple of 16
        let updates = [update(first as u64, first), update(2, 200_000), update(3, 30_720)];
        let initrd = [archive, updates.concat()].concat();
        let path = dir.path().join("boot.img");
        StoredSquashfs::new().add_bytes("initrd", initrd).unwrap().write_to(&path).unwrap();
        let slot = SlotChunks::read(&disk(&path), 0).unwrap();
        let files = StoredSquashfs::list(&disk(&path)).unwrap();
        let boundaries = SlotChunks::boot_boundaries(&disk(&path), &files).unwrap();
        let begins: BTreeSet<u64> = slot.boot.iter().map(|chunk| chunk.offset).collect();
        assert!(
            boundaries.iter().all(|at| begins.contains(at) || *at >= disk(&path).size().unwrap())
        );
        slot.boot.iter().map(|chunk| chunk.sha256).collect()
    };
    // The second update has two chunks. The third has one, with the padding of the file.
    let (old, new) = (hashes(40_960), hashes(43_008));
    assert!(old.intersection(&new).count() >= 3, "{:?}", old.intersection(&new).count());
}

/// Counts the bytes that are read.
struct Counting(FileDisk, AtomicU64);

impl Disk for Counting {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::Error::other("this disk is only read"))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_boot_image_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let (boot, root) = images(dir.path(), &[4096]);
    // Frames that begin inside a MiB, and where a MiB of the image ends.
    let mut kernel = noise(1, 3_300_000);
    for at in [8192, (1 << 20) - 4096, 1 << 20, (2 << 20) + 4096] {
        kernel[at..at + 4].copy_from_slice(&0xFD2F_B528_u32.to_le_bytes());
    }
    let table = StoredSquashfs::read_file(&disk(&boot), ROOT_CHUNKS).unwrap();
    write_boot(&boot, &kernel, Some(table));
    let out = dir.path().join("out.daruma");
    bundled(&boot, &root, &out).unwrap();
    let verified = sample::open(&out, &sample::keyring(&[1], 1)).unwrap();
    let counting = Counting(disk(&boot), AtomicU64::new(0));
    let slot = SlotChunks::read(&counting, ROOT as u64).unwrap();
    assert_eq!(slot.boot, verified.chunks("boot"));
    let begins: Vec<u64> = slot.boot.iter().map(|chunk| chunk.offset).collect();
    for at in [8192, (1 << 20) - 4096, 1 << 20, (2 << 20) + 4096] {
        assert!(begins.contains(&(4096 + at)), "{at} of {begins:?}");
    }
    // Besides the image itself: its metadata and the table.
    let (read, size) = (counting.1.into_inner(), counting.0.size().unwrap());
    assert!(read < size + 65_536, "{read} bytes read of an image of {size}");
}

#[test]
fn a_boot_image_with_the_table_of_another_root_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (boot, root) = images(dir.path(), &[4096]);
    let out = dir.path().join("out.daruma");
    let mut other = std::fs::read(&root).unwrap();
    other[5000] ^= 1;
    for content in [&other[..], &other[..ROOT - 4096]] {
        std::fs::write(&root, content).unwrap();
        let refusal = bundled(&boot, &root, &out).unwrap_err().to_string();
        assert!(refusal.contains("is not the chunk table of image root"), "{refusal}");
    }
    assert!(!out.exists());
}

#[test]
fn a_table_of_an_image_larger_than_the_partition_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (boot, _) = images(dir.path(), &[4096]);
    assert!(SlotChunks::read(&disk(&boot), ROOT as u64 - 1).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_slots_table_or_refused(table: Vec<u8>, capacity: u64) {
        let dir = tempfile::tempdir().unwrap();
        let boot = dir.path().join("boot.img");
        write_boot(&boot, b"kernel", Some(table));
        if let Ok(slot) = SlotChunks::read(&disk(&boot), capacity) {
            let size: u64 = slot.root.unwrap().iter().map(|chunk| u64::from(chunk.len)).sum();
            prop_assert!(size <= capacity);
        }
    }

    #[test]
    fn any_bytes_are_a_boot_image_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..5000),
        at in 0..10_000usize, flip: u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let boot = dir.path().join("boot.img");
        std::fs::write(&boot, &bytes).unwrap();
        prop_assert!(SlotChunks::read(&disk(&boot), u64::MAX).is_err());
        // The next image is whole, but one of its bytes is another.
        write_boot(&boot, b"kernel", Some(vec![]));
        let mut bytes = std::fs::read(&boot).unwrap();
        let last = bytes.len() - 1;
        bytes[at.min(last)] ^= flip;
        std::fs::write(&boot, bytes).unwrap();
        let _ = SlotChunks::read(&disk(&boot), u64::MAX);
    }
}
