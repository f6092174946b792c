//! Finds the blocks of a real SquashFS, and shows what cutting at them saves.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use bundle::{Sha256, SlotChunks};
use bundler::clean::PACKAGE_DATABASE;
use bundler::recipe::Packing;
use bundler::tree::{Content, Inode, Kind, Tree};
use bundler::{blocks, squash};
use image_layout::FileDisk;

const EPOCH: u32 = 1_700_000_000;

/// Returns bytes that compress to about a half and do not repeat (xorshift64 as digits).
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        b'a' + (x % 16) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Returns a tree with every kind of inode, holes, a folder large enough for an index, and large
/// files behind `first`.
fn tree(first: &[u8]) -> Tree {
    let mut tree = Tree::new(EPOCH);
    tree.put("a/first", 0o644, first);
    tree.put("b/large", 0o644, text(2, 900_000));
    tree.put("b/other", 0o644, text(3, 500_000));
    let mut holes = vec![0; 400_000];
    holes[394_000..].copy_from_slice(&text(4, 6_000));
    tree.put("c/holes", 0o644, holes);
    tree.insert("c/link", Inode::new(Kind::Symlink("../b/large".to_owned()), 0o777, EPOCH));
    tree.insert("c/null", Inode::new(Kind::CharDevice(1, 3), 0o666, EPOCH));
    tree.insert("c/disk", Inode::new(Kind::BlockDevice(254, 1), 0o660, EPOCH));
    tree.insert("c/pipe", Inode::new(Kind::Fifo, 0o600, EPOCH));
    let mut capable = Inode::new(Kind::File(Content::Bytes(text(5, 200_000).into())), 0o755, EPOCH);
    capable.xattrs = BTreeMap::from([("user.note".to_owned(), b"zweites".to_vec())]);
    tree.insert("c/capable", capable);
    for number in 0..3000 {
        tree.put(&format!("many/{}{number:05}", "n".repeat(60)), 0o644, text(number, 40));
    }
    tree
}

fn packed(path: &Path, first: &[u8]) -> BTreeMap<Sha256, u64> {
    packed_tree(path, &tree(first))
}

/// Returns the chunks of the tree's SquashFS, and their lengths.
fn packed_tree(path: &Path, tree: &Tree) -> BTreeMap<Sha256, u64> {
    let mut how = Packing::default();
    how.blocks.block_size = 128 << 10;
    squash::pack(tree, path, EPOCH, &how, None).unwrap();
    let size = fs::metadata(path).unwrap().len().next_multiple_of(4096);
    fs::File::options().write(true).open(path).unwrap().set_len(size).unwrap();
    let boundaries = blocks::boundaries(path).unwrap();
    let table =
        SlotChunks::root_table(&FileDisk::open_read_only(path).unwrap(), &boundaries).unwrap();
    let entry = |entry: &[u8; 36]| {
        let (len, hash) = entry.split_at(4);
        (Sha256(hash.try_into().unwrap()), u64::from(u32::from_le_bytes(len.try_into().unwrap())))
    };
    table.as_chunks().0.iter().map(entry).collect()
}

#[test]
fn what_did_not_change_is_the_same_chunks_behind_a_file_that_grew() {
    let dir = tempfile::tempdir().unwrap();
    let old = packed(&dir.path().join("old"), &text(1, 300_000));
    let new = packed(&dir.path().join("new"), &text(77, 310_000));
    let same: u64 =
        new.iter().filter(|(hash, _)| old.contains_key(*hash)).map(|(_, len)| len).sum();
    let all: u64 = new.values().sum();
    // 1.3 MB of large files, at 4 bits a letter, lie behind the file that grew. The ends of files
    // share their blocks.
    assert!(same > 500_000 && same < all - 150_000, "{same} of {all}");
}

/// Returns 24 packages. Each has 12 small files in folders that it shares with all others. The
/// package `updated` has new files.
fn packages(updated: Option<u64>) -> Tree {
    let mut tree = Tree::new(EPOCH);
    for package in 0..24 {
        let mut list = "/.\n/usr\n".to_owned();
        for number in 0..12 {
            let path = format!("usr/lib/{number:02}/of-{package:02}");
            list += &format!("/{path}\n");
            let seed = 1000 * u64::from(updated == Some(package)) + package * 12 + number;
            tree.put(
                &path,
                0o644,
                text(seed, 3000 + 500 * (package as usize * 7 + number as usize) % 6000),
            );
        }
        tree.put(&format!("{PACKAGE_DATABASE}/info/p{package:02}.list"), 0o644, list.into_bytes());
    }
    tree
}

#[test]
fn an_updated_package_changes_few_of_the_blocks_that_small_files_share() {
    let dir = tempfile::tempdir().unwrap();
    let old = packed_tree(&dir.path().join("old"), &packages(None));
    for updated in [0, 7, 12, 23] {
        let new = packed_tree(&dir.path().join("new"), &packages(Some(updated)));
        let missing: u64 =
            new.iter().filter(|(hash, _)| !old.contains_key(*hash)).map(|(_, len)| len).sum();
        let all: u64 = new.values().sum();
        // In the order of the paths, every block would have a file of every package.
        assert!(missing * 3 < all, "package {updated}: {missing} of {all}");
    }
}

#[test]
fn the_blocks_are_those_that_unsquashfs_finds() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("root.img");
    packed(&image, b"");
    let boundaries = blocks::boundaries(&image).unwrap();
    // 3,000 small files and the ends of the large ones make at least 6 fragments.
    let stat = Command::new("unsquashfs").arg("-s").arg(&image).output().unwrap();
    let stat = String::from_utf8(stat.stdout).unwrap();
    let number = |what: &str| -> u64 {
        let line = stat.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_else(|| panic!("{what}: {stat}")).trim().parse().unwrap()
    };
    let fragments = number("Number of fragments");
    // Whole blocks of 128 KiB: large 6, other 3, capable 1. The first three blocks of `holes` are
    // holes.
    let blocks = 6 + 3 + 1 + fragments;
    // Blocks lie behind each other without gaps, so each boundary is the beginning of a block. Two
    // more boundaries are the end of the last block, where the inodes begin, and the beginning of
    // the directories.
    assert_eq!(boundaries.len() as u64, blocks + 2, "{fragments} fragments");
}

#[test]
fn what_is_no_such_squashfs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("root.img");
    packed(&image, b"first");
    let good = fs::read(&image).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>), why: &str| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(&image, bytes).unwrap();
        let error = format!("{:#}", blocks::boundaries(&image).unwrap_err());
        assert!(error.contains(why), "{error}");
    };
    refused(&|bytes| bytes[0] = 0, "not a SquashFS");
    let count = u32::from_le_bytes(good[4..8].try_into().unwrap());
    refused(
        &|bytes| bytes[4..8].copy_from_slice(&(count + 1).to_le_bytes()),
        "a table is cut short",
    );
    refused(&|bytes| bytes[4..8].copy_from_slice(&(count - 1).to_le_bytes()), "more inodes");
    refused(&|bytes| bytes[20] = 1, "compressor");
    refused(&|bytes| bytes.truncate(good.len() / 2), "cut short");
    refused(&|bytes| bytes.truncate(50), "");
    let table = u64::from_le_bytes(good[64..72].try_into().unwrap()) as usize;
    refused(&|bytes| bytes[table + 2..table + 40].fill(0xff), "metadata block");
}
