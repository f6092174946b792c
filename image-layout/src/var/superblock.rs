//! Repairs a torn superblock, the only block of ext4 that its journal cannot repair.
//!
//! daruma-init decides when to repair it.
//!
//! Every mount writes the superblock in place. It has two sectors, and its checksum is at the end
//! of the second sector. A disk can tear a write between the sectors. A power cut then leaves new
//! fields with an old checksum, or old fields with a new one. Such a file system cannot be mounted,
//! although nothing else is wrong. All fields that change in use lie in the first sector, except
//! for the checksum. (See `Documentation/filesystems/ext4/super.rst`.)

use std::io;

use crate::Disk;

pub(crate) const BYTES: usize = 1024;
pub(crate) const AT: u64 = 1024;
pub(crate) const CHECKSUM: usize = 0x3fc;
const MAGIC: u16 = 0xef53;
const METADATA_CSUM: u32 = 0x400;
/// An incompatible feature that does not change the layout of the file system. It says that the
/// journal is to be replayed.
const RECOVER: u32 = 0x4;
/// The fields that a file system keeps for life: offset and length. Its backup must agree in all of
/// them.
const LIFELONG: [(usize, usize); 9] = [
    (0x14, 8),  // first block, size of a block
    (0x20, 4),  // blocks a group
    (0x28, 4),  // inodes a group
    (0x54, 6),  // first inode, size of an inode
    (0x5c, 4),  // compatible features
    (0x64, 4),  // features without which it may be read
    (0x68, 16), // UUID
    (0xe0, 4),  // inode of the journal
    (0xec, 18), // hash seed and version, size of a descriptor
];

/// Gives a torn superblock its checksum back. The ext4 must not be mounted. Returns `true` if that
/// was needed and was done. Does nothing unless the backup in group 1 is whole and agrees on
/// everything that never changes.
///
/// # Errors
/// The disk cannot be read or written.
pub fn mend_torn_superblock(disk: &impl Disk) -> io::Result<bool> {
    let mut block = [0; BYTES];
    let size = disk.size()?;
    if size < AT + BYTES as u64 {
        return Ok(false);
    }
    disk.read_at(&mut block, AT)?;
    if !is_ours(&block) || checksum(&block) == number(&block, CHECKSUM) {
        return Ok(false);
    }
    let block_size = 1024_u64 << (number(&block, 0x18) & 7);
    // With blocks of 1 KiB, group 0 begins behind block 0. With larger blocks it begins with block
    // 0.
    let first = u64::from(number(&block, 0x14));
    let backup_at = (first + u64::from(number(&block, 0x20))).saturating_mul(block_size);
    if backup_at.saturating_add(BYTES as u64) > size {
        return Ok(false);
    }
    let mut backup = [0; BYTES];
    disk.read_at(&mut backup, backup_at)?;
    let same = |(at, length): (usize, usize)| block[at..at + length] == backup[at..at + length];
    let incompatible = |bytes: &[u8; BYTES]| number(bytes, 0x60) & !RECOVER;
    if !is_ours(&backup)
        || checksum(&backup) != number(&backup, CHECKSUM)
        || incompatible(&block) != incompatible(&backup)
        || !LIFELONG.into_iter().all(same)
    {
        return Ok(false);
    }
    let sum = checksum(&block);
    block[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    // This is one sector, so the write cannot be torn again.
    disk.write_at(&block[512..], AT + 512)?;
    disk.sync()?;
    Ok(true)
}

fn number(bytes: &[u8; BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn is_ours(bytes: &[u8; BYTES]) -> bool {
    u16::from_le_bytes([bytes[0x38], bytes[0x39]]) == MAGIC
        && number(bytes, 0x64) & METADATA_CSUM != 0
}

/// Returns CRC-32C (Castagnoli) over all bytes before the checksum, without the final inversion, as
/// ext4 has it.
pub(crate) fn checksum(bytes: &[u8; BYTES]) -> u32 {
    let mut crc = u32::MAX;
    for byte in &bytes[..CHECKSUM] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    crc
}
