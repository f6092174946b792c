//! Reads every write and flush of a machine's disk, as QEMU's `blklogwrites` records them.
//!
//! `recording` makes the log, and `cut_disk` cuts it.
//!
//! The format is that of dm-log-writes (`drivers/md/dm-log-writes.c`), little-endian, in sectors of
//! 512 bytes. The first sector is the superblock (magic, version, number of entries, sector size).
//! Each entry has a header in a sector of its own (first sector, number of sectors, flags, length
//! of a mark's text). The data follows the header, except for a discard.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Size of a sector on the disk and in the log, in bytes.
pub const SECTOR: usize = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// One finished request of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Everything before this entry is on the disk for good.
    Flush,
    /// Sectors were written.
    Write {
        /// The first sector, counted from the start of the disk.
        first: u64,
        /// The content of the sectors, a multiple of 512 bytes.
        data: Vec<u8>,
        /// True if the data was on the disk for good when the request was done.
        durable: bool,
    },
}

/// The requests in the order in which they were done.
#[derive(Clone, Debug)]
pub struct WriteLog {
    /// The requests.
    pub entries: Vec<Entry>,
}

impl WriteLog {
    /// Reads a log. Requests after its last flush are not in it.
    ///
    /// # Errors
    /// The file cannot be read, or it is not a log with sectors of 512 bytes.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("reading {}", path.display()))
    }

    /// Returns the current number of entries of a log while QEMU writes it. All flushed entries
    /// count.
    pub fn length(path: &Path) -> Result<usize> {
        let mut superblock = [0; SECTOR];
        File::open(path)?.read_exact_at(&mut superblock, 0)?;
        entries(&superblock)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let count = entries(bytes)?;
        let mut log = Self { entries: Vec::with_capacity(count) };
        let mut at = SECTOR;
        for number in 0..count {
            let header =
                bytes.get(at..at + SECTOR).with_context(|| format!("entry {number} is cut off"))?;
            at += SECTOR;
            let (first, sectors, flags) = (word(header, 0), word(header, 1), word(header, 2));
            ensure!(
                flags & !(FLUSH | FUA | DISCARD) == 0,
                "entry {number} has the flags {flags:#x}"
            );
            if flags & FLUSH != 0 {
                log.entries.push(Entry::Flush);
            }
            if sectors == 0 {
                continue;
            }
            // The content of a discarded sector is undefined. The tests' machines do not discard.
            ensure!(flags & DISCARD == 0, "entry {number} discards {sectors} sectors");
            let length = usize::try_from(sectors)? * SECTOR;
            let data =
                bytes.get(at..at + length).with_context(|| format!("entry {number} is cut off"))?;
            at += length;
            log.entries.push(Entry::Write {
                first,
                data: data.to_vec(),
                durable: flags & FUA != 0,
            });
        }
        Ok(log)
    }
}

fn word(bytes: &[u8], index: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[index * 8..][..8]);
    u64::from_le_bytes(word)
}

fn entries(superblock: &[u8]) -> Result<usize> {
    ensure!(superblock.len() >= SECTOR, "the superblock is cut off");
    let (magic, version, count) = (word(superblock, 0), word(superblock, 1), word(superblock, 2));
    if (magic, version) != (MAGIC, 1) {
        bail!("not a log of writes: magic {magic:#x}, version {version}");
    }
    let sector = word(superblock, 3) as u32;
    ensure!(sector as usize == SECTOR, "its sectors have {sector} bytes");
    Ok(usize::try_from(count)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(words: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(SECTOR, 0);
        bytes
    }

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let log = [
            sector(&[MAGIC, 1, 3, 512]),
            sector(&[7, 2, 0, 0]),
            vec![5; 1024],
            sector(&[0, 0, FLUSH, 0]),
        ];
        let log = [log.concat(), sector(&[9, 1, FUA, 0]), vec![6; 512]].concat();
        let expected = [
            Entry::Write { first: 7, data: vec![5; 1024], durable: false },
            Entry::Flush,
            Entry::Write { first: 9, data: vec![6; 512], durable: true },
        ];
        assert_eq!(WriteLog::parse(&log).unwrap().entries, expected);
    }

    #[test]
    fn what_is_no_log_or_is_torn_is_refused() {
        let whole = [sector(&[MAGIC, 1, 1, 512]), sector(&[7, 2, 0, 0]), vec![5; 1024]].concat();
        assert!(WriteLog::parse(&whole).is_ok());
        for (bytes, reason) in [
            (whole[..whole.len() - 1].to_vec(), "cut off"),
            (sector(&[MAGIC + 1, 1, 0, 512]), "not a log"),
            (sector(&[MAGIC, 1, 0, 4096]), "4096"),
            ([sector(&[MAGIC, 1, 1, 512]), sector(&[7, 2, DISCARD, 0])].concat(), "discards"),
        ] {
            let error = WriteLog::parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
