//! A torn superblock on real file systems of mke2fs. e2fsck and debugfs judge the result.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_layout::{Disk as _, FileDisk, mend_torn_superblock};

fn run(program: &str, arguments: &[&str], image: &Path) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).arg(image).env("PATH", path).output();
    output.is_ok_and(|output| output.status.success())
}

fn ext4(dir: &Path, block_size: u64, blocks: u64) -> io::Result<PathBuf> {
    let image = dir.join(format!("{block_size}.img"));
    File::create_new(&image)?.set_len(blocks * block_size)?;
    let size = block_size.to_string();
    assert!(run("mke2fs", &["-q", "-F", "-t", "ext4", "-O", "metadata_csum", "-b", &size], &image));
    Ok(image)
}

/// Changes a field of the first sector (the number of mounts) as a mount does. Leaves the checksum
/// as it was.
fn tear(image: &Path) -> io::Result<()> {
    File::options().write(true).open(image)?.write_all_at(&[77, 0], 1024 + 0x34)
}

#[test]
fn a_torn_superblock_is_mended_and_all_is_in_order_again() {
    let dir = tempfile::tempdir().unwrap();
    for (block_size, blocks) in [(4096, 40_960), (1024, 20_480)] {
        let image = ext4(dir.path(), block_size, blocks).unwrap();
        let disk = FileDisk::open(&image).unwrap();
        assert!(!mend_torn_superblock(&disk).unwrap(), "a whole one is left as it is");
        tear(&image).unwrap();
        assert!(!run("e2fsck", &["-fn"], &image), "this would prove nothing");
        assert!(mend_torn_superblock(&disk).unwrap());
        assert!(run("e2fsck", &["-fn"], &image), "blocks of {block_size}");
        assert!(!mend_torn_superblock(&disk).unwrap());
    }
}

#[test]
fn what_is_damaged_otherwise_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let image = ext4(dir.path(), 4096, 40_960).unwrap();
    let disk = FileDisk::open(&image).unwrap();
    let mut whole = [0; 1024];
    disk.read_at(&mut whole, 1024).unwrap();
    // The damaged fields are the block size, the UUID, a feature and the magic. Each has a checksum
    // that does not match.
    for at in [0x18, 0x68, 0x60, 0x38] {
        let mut damaged = whole;
        damaged[at] ^= 1;
        disk.write_at(&damaged, 1024).unwrap();
        assert!(!mend_torn_superblock(&disk).unwrap(), "{at:#x}");
    }
    // A backup that is damaged proves nothing.
    disk.write_at(&whole, 1024).unwrap();
    tear(&image).unwrap();
    disk.write_at(&[9], 32_768 * 4096 + 0x34).unwrap();
    assert!(!mend_torn_superblock(&disk).unwrap());
}

#[test]
fn a_file_system_of_one_group_has_no_backup_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let image = ext4(dir.path(), 4096, 32_768).unwrap();
    tear(&image).unwrap();
    assert!(!mend_torn_superblock(&FileDisk::open(&image).unwrap()).unwrap());
}
