//! squashfs-tools and squashfs-tools-ng read images back, and wrong calls are refused.
//!
//! The bundler tests what a root filesystem needs. This file tests the promises of the interface.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use squashfs_ng::{Compressor, Error, Metadata, NAME_MAX, Node, PackedBlocks, Packing, Writer};

const EPOCH: u32 = 1_700_000_000;
const ZSTD: Packing = Packing { compressor: Compressor::Zstd, level: 4, block_size: 128 << 10 };

fn metadata(xattrs: &BTreeMap<String, Vec<u8>>, mode: u16) -> Metadata<'_> {
    Metadata { mode, uid: 1000, gid: 42, mtime: 1_600_000_000, xattrs }
}

fn add_file(writer: &mut Writer, mut content: &[u8]) -> u32 {
    let xattrs = BTreeMap::from([("user.note".to_owned(), b"two".to_vec())]);
    let mut seen = 0;
    let len = content.len() as u64;
    let node = Node::File { content: &mut content, watch: &mut |bytes| seen += bytes };
    let number = writer.add(&metadata(&xattrs, 0o640), node).unwrap();
    assert_eq!(seen, len);
    number
}

/// Writes an image with two names of one file, a link, a pipe, a device and a folder.
fn write(out: &Path, content: &[u8]) -> u64 {
    let none = BTreeMap::new();
    let mut writer = Writer::create(out, EPOCH, ZSTD).unwrap();
    let file = add_file(&mut writer, content);
    let link = writer.add(&metadata(&none, 0o777), Node::Symlink("dir/file")).unwrap();
    let pipe = writer.add(&metadata(&none, 0o600), Node::Fifo).unwrap();
    let device = writer.add(&metadata(&none, 0o666), Node::CharDevice(1, 0xabcde)).unwrap();
    let longest = "n".repeat(NAME_MAX);
    let below = [("file", file), (longest.as_str(), file)];
    let dir = writer.add(&metadata(&none, 0o755), Node::Dir(&below)).unwrap();
    let root = [("dev", device), ("dir", dir), ("link", link), ("pipe", pipe)];
    writer.add(&metadata(&none, 0o755), Node::Dir(&root)).unwrap();
    writer.finish(out).unwrap()
}

fn stdout(command: &mut Command) -> String {
    let output = command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").output();
    let output = output.expect("squashfs-tools and squashfs-tools-ng are installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn unsquashfs_lists_what_was_added() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let size = write(&image, &[7; 300_000]);
    assert_eq!(size, fs::metadata(&image).unwrap().len());
    assert_eq!(size % 4096, 0);

    let list = stdout(Command::new("unsquashfs").arg("-llnumeric").arg(&image));
    // mode owner/group size date time path. The number of blanks depends on the width of the
    // columns.
    let list: Vec<String> =
        list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for wanted in [
        "-rw-r----- 1000/42 300000 2020-09-13 12:26 squashfs-root/dir/file".to_owned(),
        format!("-rw-r----- 1000/42 300000 2020-09-13 12:26 squashfs-root/dir/{}", "n".repeat(255)),
        "lrwxrwxrwx 1000/42 8 2020-09-13 12:26 squashfs-root/link -> dir/file".to_owned(),
        "prw------- 1000/42 0 2020-09-13 12:26 squashfs-root/pipe".to_owned(),
    ] {
        assert!(list.contains(&wanted), "no line {wanted:?} in\n{}", list.join("\n"));
    }
    let stat = stdout(Command::new("unsquashfs").arg("-s").arg(&image));
    for wanted in ["Number of inodes 6\n", "Number of xattr ids 1\n", "compression-level 4\n"] {
        assert!(stat.contains(wanted), "no line {wanted:?} in\n{stat}");
    }
    let stat = stdout(Command::new("rdsquashfs").args(["-s", "/dev"]).arg(&image));
    assert!(stat.contains("1:703710"), "{stat}");
    let stat = stdout(Command::new("rdsquashfs").args(["-s", "/dir/file"]).arg(&image));
    assert!(stat.contains("Hard link count: 2\n"), "{stat}");
}

#[test]
fn unsquashfs_gives_the_content_back() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let content: Vec<u8> = (0..400_000u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
    write(&image, &content);
    let cat = Command::new("unsquashfs").arg("-cat").arg(&image).arg("dir/file").output().unwrap();
    assert!(cat.status.success(), "{}", String::from_utf8_lossy(&cat.stderr));
    assert!(cat.stdout == content, "other bytes came back");
}

/// Writes a file of numbers at `packing`, and another one at `later`. Returns both contents.
fn write_two(image: &Path, packing: Packing, later: u8) -> [Vec<u8>; 2] {
    let none = BTreeMap::new();
    // Words in no order (xorshift64), which a higher level finds again more often.
    let words = |seed: u64| -> Vec<u8> {
        let mut x = seed;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        let known: Vec<String> = (0..2000).map(|_| format!("{:x} ", next() >> 20)).collect();
        (0..130_000).flat_map(|_| known[next() as usize % 2000].clone().into_bytes()).collect()
    };
    let contents = [words(3), words(5)];
    let mut writer = Writer::create(image, EPOCH, packing).unwrap();
    let first = add_file(&mut writer, &contents[0]);
    writer.set_level(later).unwrap();
    let second = add_file(&mut writer, &contents[1]);
    let root = [("first", first), ("second", second)];
    writer.add(&metadata(&none, 0o755), Node::Dir(&root)).unwrap();
    writer.finish(image).unwrap();
    contents
}

#[test]
fn either_compressor_and_any_block_size_give_the_content_back() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let (zstd, xz) = (Compressor::Zstd, Compressor::Xz);
    for (compressor, level, later, name) in
        [(zstd, 19, 4, "zstd"), (zstd, 22, 22, "zstd"), (xz, 6, 0, "xz")]
    {
        for block_size in [128 << 10, 256 << 10, 1 << 20] {
            let contents = write_two(&image, Packing { compressor, level, block_size }, later);
            let stat = stdout(Command::new("unsquashfs").arg("-s").arg(&image));
            for wanted in [format!("Compression {name}\n"), format!("Block size {block_size}\n")] {
                assert!(stat.contains(&wanted), "no line {wanted:?} in\n{stat}");
            }
            for (name, content) in ["first", "second"].iter().zip(&contents) {
                let cat = Command::new("unsquashfs").arg("-cat").arg(&image).arg(name).output();
                assert!(cat.unwrap().stdout == *content, "{compressor:?} {block_size}: {name}");
            }
        }
    }
}

#[test]
fn a_level_holds_for_the_files_that_are_added_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let size = |level, later| {
        write_two(&image, Packing { level, ..ZSTD }, later);
        fs::metadata(&image).unwrap().len()
    };
    let (high, mixed, low) = (size(19, 19), size(19, 1), size(1, 1));
    assert!(high < mixed && mixed < low, "{high} {mixed} {low}");
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    write(&one, &[7; 300_000]);
    write(&two, &[7; 300_000]);
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "other bytes");
}

#[test]
fn calls_that_make_no_image_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let none = BTreeMap::new();
    let start = || Writer::create(&image, EPOCH, ZSTD).unwrap();

    assert!(matches!(start().finish(&image), Err(Error::Misuse(_))), "no root");
    let mut writer = start();
    add_file(&mut writer, b"x");
    assert!(matches!(writer.finish(&image), Err(Error::Misuse(_))), "the root is a file");
    for number in [0, 1, u32::MAX] {
        let dir = start().add(&metadata(&none, 0o755), Node::Dir(&[("x", number)]));
        assert!(matches!(dir, Err(Error::Misuse(_))), "no inode {number}");
    }
    let device = start().add(&metadata(&none, 0o600), Node::BlockDevice(1, 1 << 20));
    assert!(matches!(device, Err(Error::NoDevice(1, _))));
    let mut writer = start();
    let file = add_file(&mut writer, b"x");
    let name = "n".repeat(NAME_MAX + 1);
    let dir = writer.add(&metadata(&none, 0o755), Node::Dir(&[(&name, file)]));
    assert!(matches!(dir, Err(Error::LongName(_))), "{dir:?}");
    let nul = writer.add(&metadata(&none, 0o755), Node::Dir(&[("a\0b", file)]));
    assert!(matches!(nul, Err(Error::Nul(_))), "{nul:?}");
}

/// A reader that fails after its first bytes.
struct Broken(bool);

impl std::io::Read for Broken {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(1);
        Ok(buf.len())
    }
}

#[test]
fn a_writer_whose_file_broke_off_is_of_no_more_use() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let none = BTreeMap::new();
    let mut writer = Writer::create(&image, EPOCH, ZSTD).unwrap();
    let node = Node::File { content: &mut Broken(false), watch: &mut |_| {} };
    let broken = writer.add(&metadata(&none, 0o644), node);
    assert!(matches!(broken, Err(Error::Content(_))), "{broken:?}");
    let root = writer.add(&metadata(&none, 0o755), Node::Dir(&[]));
    assert!(matches!(root, Err(Error::Misuse(_))), "{root:?}");
    assert!(matches!(writer.finish(&image), Err(Error::Misuse(_))));
}

/// Writes an image of these files, the first at level 4 and the rest at level 9.
fn packed(out: &Path, files: &[Vec<u8>], blocks: Option<&Arc<PackedBlocks>>) -> Vec<u8> {
    let none = BTreeMap::new();
    let mut writer = Writer::create(out, EPOCH, ZSTD).unwrap();
    if let Some(blocks) = blocks {
        writer.remember(blocks.clone()).unwrap();
    }
    let mut names = Vec::new();
    for (index, content) in files.iter().enumerate() {
        if index == 1 {
            writer.set_level(9).unwrap();
        }
        names.push((format!("{index}"), add_file(&mut writer, content)));
    }
    let names: Vec<_> = names.iter().map(|(name, number)| (name.as_str(), *number)).collect();
    writer.add(&metadata(&none, 0o755), Node::Dir(&names)).unwrap();
    writer.finish(out).unwrap();
    fs::read(out).unwrap()
}

#[test]
fn remembered_blocks_are_not_packed_again_and_the_image_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    // Text, and noise that does not get smaller: of the same blocks at two levels.
    let text: Vec<u8> = (0..400_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    let noise = |seed: u64| -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        (0..300_000).map(|_| next()).collect()
    };
    let mut files = vec![text.clone(), text, noise(1)];
    let expected = packed(&image, &files, None);

    let first = Arc::new(PackedBlocks::default());
    assert_eq!(packed(&image, &files, Some(&first)), expected);
    let (all, new) = first.counts();
    assert_eq!(new, all);
    assert!(all > 20, "{all} blocks");

    let again = Arc::new(PackedBlocks::from_bytes(&first.to_bytes()));
    assert_eq!(packed(&image, &files, Some(&again)), expected);
    assert_eq!(again.counts(), (all, 0));
    assert_eq!(again.to_bytes(), first.to_bytes());

    // An edit, and a block that is no longer there.
    files[0][500_000] ^= 1;
    files[2] = noise(2);
    let edited = Arc::new(PackedBlocks::from_bytes(&again.to_bytes()));
    assert_eq!(packed(&image, &files, Some(&edited)), packed(&image, &files, None));
    let (now, new) = edited.counts();
    assert!(now == all && (1..6).contains(&new), "{new} of {now}");

    // What is torn or is something else is packed anew.
    for bytes in [&first.to_bytes()[..100_000], b"no blocks".as_slice(), &[0xff; 1000]] {
        let torn = Arc::new(PackedBlocks::from_bytes(bytes));
        assert_eq!(packed(&image, &files, Some(&torn)), packed(&image, &files, None));
    }
}
