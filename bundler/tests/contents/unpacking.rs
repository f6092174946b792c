//! The reader of SquashFS gives a tree back, and refuses what is none.

use std::fs;

use bundler::recipe::Packing;
use bundler::squash::{self, Unpacked};
use bundler::tree::{Kind, Tree};
use image_layout::FileDisk;

use squashfs_ng::{Compressor, Packing as Blocks};

use crate::small::{everything, pack, pack_as};

fn described(tree: &Tree) -> Vec<String> {
    let one = |(path, id)| {
        let inode = tree.inode(id);
        let kind = match &inode.kind {
            Kind::File(content) => format!("{:?}", content.read().unwrap()),
            other => format!("{other:?}"),
        };
        let first = tree.iter().find(|(_, other)| *other == id).unwrap().0;
        let owner = (inode.mode, inode.uid, inode.gid, inode.mtime);
        format!("{path} is {first}: {owner:?} {kind}")
    };
    tree.iter().map(one).collect()
}

#[test]
fn a_tree_comes_back_as_it_was_packed() {
    let dir = tempfile::tempdir().unwrap();
    let tree = everything();
    let image = pack(dir.path(), &tree);
    let disk = FileDisk::open_read_only(&image).unwrap();
    let Unpacked { tree: read, packed } = squash::unpack(&disk).unwrap();
    let (wanted, got) = (described(&tree), described(&read));
    for (wanted, got) in wanted.iter().zip(&got) {
        assert!(wanted == got, "{:.100} came back as {:.100}", wanted, got);
    }
    assert_eq!(wanted.len(), got.len());
    let bytes = |path: &str| packed[&read.id(path).unwrap()];
    assert_eq!((bytes("usr/empty"), bytes("usr/more")), (0, bytes("usr/other-name")));
    let sum: u64 = packed.values().sum();
    assert!(sum > 30_000 && sum < fs::metadata(&image).unwrap().len(), "{sum}");
}

#[test]
fn a_tree_comes_back_from_either_compressor_and_blocks_of_any_size() {
    let tree = everything();
    let wanted = described(&tree);
    for (compressor, level, block_size) in [
        (Compressor::Xz, 6, 128 << 10),
        (Compressor::Xz, 0, 1 << 20),
        (Compressor::Zstd, 19, 1 << 18),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks { compressor, level, block_size };
        let image = pack_as(dir.path(), &tree, &Packing { blocks, module_level: level });
        let read = squash::unpack(&FileDisk::open_read_only(&image).unwrap()).unwrap().tree;
        assert!(described(&read) == wanted, "{blocks:?}");
    }
}

#[test]
fn files_of_every_length_come_back_and_nothing_else_is_one() {
    let dir = tempfile::tempdir().unwrap();
    // Less than a block, exactly a block, and blocks with a rest.
    for length in [0, 5, 524_288, 1_200_000] {
        let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let mut tree = Tree::new(0);
        tree.put("dir/file", 0o644, content.clone());
        tree.put_symlink("link", "dir/file");
        let image = pack(dir.path(), &tree);
        let read = squash::unpack(&FileDisk::open_read_only(&image).unwrap()).unwrap().tree;
        assert_eq!(read.read("dir/file").unwrap(), content);
        for path in ["dir", "link", "dir/none", "none/file", "link/file", ""] {
            let is_file = read.get(path).is_some_and(|inode| matches!(inode.kind, Kind::File(_)));
            assert!(!is_file, "{path:?}");
        }
    }
    let junk = dir.path().join("junk");
    fs::write(&junk, [7; 5000]).unwrap();
    squash::unpack(&FileDisk::open_read_only(&junk).unwrap()).unwrap_err();
}

#[test]
fn a_damaged_image_is_an_error_or_another_tree_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(0);
    tree.put("usr/a", 0o644, vec![1; 200_000]);
    tree.put("usr/b", 0o644, *b"b");
    tree.put_symlink("link", "usr/a");
    let image = pack(dir.path(), &tree);
    let whole = fs::read(&image).unwrap();
    let used = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
    let damaged = dir.path().join("damaged");
    let mut refused = 0;
    let mut read = |bytes: &[u8]| {
        fs::write(&damaged, bytes).unwrap();
        let result = squash::unpack(&FileDisk::open_read_only(&damaged).unwrap());
        refused += usize::from(result.is_err());
    };
    for at in 0..used {
        for bit in [0x01, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            read(&bytes);
        }
    }
    for len in 0..used {
        read(&whole[..len]);
    }
    assert!(refused > used, "{refused} of {} were refused", 3 * used);
}

#[test]
fn an_image_that_claims_more_than_it_can_hold_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(0);
    tree.put("usr/a", 0o644, *b"a");
    let whole = fs::read(pack(dir.path(), &tree)).unwrap();
    let refused = |at: usize, bytes: &[u8], wanted: &str| {
        let mut image = whole.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        let path = dir.path().join("claims");
        fs::write(&path, image).unwrap();
        let error = squash::unpack(&FileDisk::open_read_only(&path).unwrap()).unwrap_err();
        assert!(format!("{error:#}").contains(wanted), "{error:#}");
    };
    refused(16, &u32::MAX.to_le_bytes(), "it has too many fragments");
    let inodes = u64::from_le_bytes(whole[64..72].try_into().unwrap()) as usize;
    refused(inodes, &0x8000_u16.to_le_bytes(), "a table has an empty block");
}
