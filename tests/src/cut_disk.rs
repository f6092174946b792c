//! Computes the disks that a power cut can leave: some recorded writes happened, others did not.
//!
//! `recording` makes the recording, and `machine_judge` judges the disks. All states share the disk
//! from before the recording and the recorded writes. A state is only the list of what is left out.
//! A [`View`] is one real, sparse file that moves from state to state sector by sector.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::write_log::{Entry, SECTOR, WriteLog};

/// The moment of a power cut: how many entries of the log happened, and which of them were lost in
/// the disk's cache.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cut {
    /// Number of entries before the cut.
    pub at: usize,
    /// The entries before the cut whose data never reached the medium.
    pub lost: BTreeSet<usize>,
    /// Number of sectors of the last entry that reached the medium, if some did not.
    pub torn: Option<u64>,
}

impl Cut {
    /// Returns true if sector `index` of the entry is on the disk.
    fn has(&self, entry: usize, index: u64) -> bool {
        let torn_off = entry + 1 == self.at && self.torn.is_some_and(|torn| index >= torn);
        entry < self.at && !self.lost.contains(&entry) && !torn_off
    }
}

/// All states of a recorded disk.
#[derive(Debug)]
pub struct CutDisk {
    base: File,
    base_size: u64,
    size: u64,
    /// The recorded requests.
    pub log: WriteLog,
    /// For each written sector, the entries that write it, in order.
    writers: HashMap<u64, Vec<usize>>,
    /// For each entry, the value that each of its sectors adds to the hash of the disk.
    marks: Vec<Vec<u128>>,
}

impl CutDisk {
    /// Returns the disk that held `base` (zeros behind its end) when `log` began.
    pub fn new(base: &Path, size: u64, log: WriteLog) -> Result<Self> {
        let base = File::open(base)?;
        let base_size = base.metadata()?.len();
        let mut this =
            Self { base, base_size, size, log, writers: HashMap::new(), marks: Vec::new() };
        for (number, entry) in this.log.entries.iter().enumerate() {
            let mut marks = Vec::new();
            if let Entry::Write { first, data, .. } = entry {
                for (sector, bytes) in (*first..).zip(data.chunks_exact(SECTOR)) {
                    this.writers.entry(sector).or_default().push(number);
                    // A write that leaves a sector as it was at first must also leave the hash as
                    // it was.
                    let same = this.base_sector(sector)? == bytes;
                    marks.push(if same { 0 } else { mark(sector, bytes) });
                }
            }
            this.marks.push(marks);
        }
        Ok(this)
    }

    /// Returns the sectors of an entry.
    #[must_use]
    pub fn sectors(&self, entry: usize) -> std::ops::Range<u64> {
        match &self.log.entries[entry] {
            Entry::Flush => 0..0,
            Entry::Write { first, data, .. } => *first..*first + (data.len() / SECTOR) as u64,
        }
    }

    /// Returns the writes that are not durable if the power fails after `at` entries: those since
    /// the last flush.
    #[must_use]
    pub fn in_cache(&self, at: usize) -> Vec<usize> {
        let entries = &self.log.entries;
        let since = entries[..at]
            .iter()
            .rposition(|entry| *entry == Entry::Flush)
            .map_or(0, |flush| flush + 1);
        (since..at)
            .filter(|&number| matches!(entries[number], Entry::Write { durable: false, .. }))
            .collect()
    }

    fn base_sector(&self, sector: u64) -> Result<[u8; SECTOR]> {
        let mut bytes = [0; SECTOR];
        let offset = sector * SECTOR as u64;
        if offset < self.base_size {
            self.base.read_exact_at(&mut bytes, offset)?;
        }
        Ok(bytes)
    }

    /// Returns the entry that a sector's content comes from. `None`: the content is from before the
    /// recording.
    fn writer(&self, sector: u64, cut: &Cut) -> Option<usize> {
        self.writers
            .get(&sector)?
            .iter()
            .rev()
            .copied()
            .find(|&entry| cut.has(entry, sector - self.sectors(entry).start))
    }

    fn content(&self, sector: u64, writer: Option<usize>) -> Result<[u8; SECTOR]> {
        let Some(writer) = writer else { return self.base_sector(sector) };
        let Entry::Write { first, data, .. } = &self.log.entries[writer] else {
            return self.base_sector(sector);
        };
        let mut bytes = [0; SECTOR];
        bytes.copy_from_slice(&data[(sector - first) as usize * SECTOR..][..SECTOR]);
        Ok(bytes)
    }

    fn mark(&self, sector: u64, writer: Option<usize>) -> u128 {
        writer
            .map_or(0, |writer| self.marks[writer][(sector - self.sectors(writer).start) as usize])
    }
}

fn mark(sector: u64, bytes: &[u8]) -> u128 {
    let hash = Sha256::new().chain_update(sector.to_le_bytes()).chain_update(bytes).finalize();
    hash[..16].iter().fold(0, |mark, byte| mark << 8 | u128::from(*byte))
}

/// The change of one sector when a [`View`] moves.
#[derive(Debug)]
pub struct Change {
    /// The sector.
    pub sector: u64,
    /// The new content of the sector.
    pub bytes: [u8; SECTOR],
    /// The exclusive or of the sector's old and new values in the disk's hash.
    pub mark: u128,
}

/// One state of the disk as a file.
#[derive(Debug)]
pub struct View<'a> {
    disk: &'a CutDisk,
    /// The disk's bytes.
    pub file: File,
    cut: Cut,
}

impl<'a> View<'a> {
    /// Returns the state before the recording, as a new file at `path`.
    pub fn new(disk: &'a CutDisk, path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(disk.size)?;
        copy_data(&disk.base, &file, 0, 0, disk.base_size)?;
        Ok(Self { disk, file, cut: Cut::default() })
    }

    /// Changes the file to the state after `cut`, and calls `changed` for each sector that this
    /// changes.
    pub fn move_to(&mut self, cut: &Cut, mut changed: impl FnMut(&Change)) -> Result<()> {
        let (from, to) = (self.cut.at.min(cut.at), self.cut.at.max(cut.at));
        // Entries that one of the two states has lost or torn, although they lie before its cut.
        let uneven = [&self.cut, cut].into_iter().flat_map(|cut| {
            cut.lost.iter().copied().chain(cut.torn.and_then(|_| cut.at.checked_sub(1)))
        });
        let entries: BTreeSet<usize> = (from..to).chain(uneven).collect();
        let sectors: BTreeSet<u64> =
            entries.into_iter().flat_map(|entry| self.disk.sectors(entry)).collect();
        for sector in sectors {
            let (before, after) =
                (self.disk.writer(sector, &self.cut), self.disk.writer(sector, cut));
            if before == after {
                continue;
            }
            let bytes = self.disk.content(sector, after)?;
            self.file.write_all_at(&bytes, sector * SECTOR as u64)?;
            let mark = self.disk.mark(sector, before) ^ self.disk.mark(sector, after);
            changed(&Change { sector, bytes, mark });
        }
        self.cut = cut.clone();
        Ok(())
    }
}

/// Copies `length` bytes and leaves out the holes of `from`.
pub fn copy_data(
    from: &File,
    to: &File,
    from_offset: u64,
    to_offset: u64,
    length: u64,
) -> Result<()> {
    use nix::unistd::{Whence, lseek};
    let seek = |at: u64, whence| lseek(from, at as i64, whence).map(|at| at as u64);
    let end = from_offset + length;
    let mut at = from_offset;
    let mut buf = vec![0; 1 << 20];
    while at < end {
        // An error means that there is no more data.
        let Ok(data) = seek(at, Whence::SeekData) else { break };
        let hole = seek(data, Whence::SeekHole)?.min(end);
        at = data;
        while at < hole {
            let piece = buf.len().min((hole - at) as usize);
            from.read_exact_at(&mut buf[..piece], at)?;
            to.write_all_at(&buf[..piece], at - from_offset + to_offset)?;
            at += piece as u64;
        }
        at = at.max(hole);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(first: u64, byte: u8) -> Entry {
        Entry::Write { first, data: vec![byte; SECTOR], durable: false }
    }

    fn disk(dir: &Path) -> CutDisk {
        let base = dir.join("base");
        std::fs::write(&base, vec![1; 2 * SECTOR]).unwrap();
        let entries = vec![write(0, 2), Entry::Flush, write(0, 3), write(2, 4), write(0, 1)];
        CutDisk::new(&base, 3 * SECTOR as u64, WriteLog { entries }).unwrap()
    }

    fn cut(at: usize, lost: &[usize]) -> Cut {
        Cut { at, lost: lost.iter().copied().collect(), torn: None }
    }

    #[test]
    fn a_view_shows_each_state_and_finds_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(dir.path());
        let mut view = View::new(&disk, &dir.path().join("view")).unwrap();
        let mut hash = 0;
        let mut hashes = Vec::new();
        for (state, first, last) in [
            (cut(0, &[]), 1, 0),
            (cut(1, &[]), 2, 0),
            (cut(4, &[]), 3, 4),
            (cut(4, &[2]), 2, 4),
            (cut(4, &[2, 3]), 2, 0),
            (cut(5, &[3]), 1, 0),
            (cut(5, &[4]), 3, 4),
        ] {
            view.move_to(&state, |change| hash ^= change.mark).unwrap();
            let mut bytes = [0; 3 * SECTOR];
            view.file.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!((bytes[0], bytes[SECTOR], bytes[2 * SECTOR]), (first, 1, last), "{state:?}");
            hashes.push(hash);
        }
        // Equal content has an equal hash, whatever path led to it.
        assert_eq!(hashes[0], hashes[5]);
        assert_eq!(hashes[1], hashes[4]);
        assert_eq!(hashes[2], hashes[6]);
        assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn a_torn_write_has_its_first_sectors() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::write(&base, vec![1; 2 * SECTOR]).unwrap();
        let entries =
            vec![Entry::Write { first: 0, data: vec![2; 2 * SECTOR], durable: false }, write(1, 3)];
        let disk = CutDisk::new(&base, 2 * SECTOR as u64, WriteLog { entries }).unwrap();
        let mut view = View::new(&disk, &dir.path().join("view")).unwrap();
        for (at, torn, expected) in
            [(1, Some(1), (2, 1)), (2, None, (2, 3)), (1, Some(1), (2, 1)), (1, None, (2, 2))]
        {
            view.move_to(&Cut { at, lost: BTreeSet::new(), torn }, |_| {}).unwrap();
            let mut bytes = [0; 2 * SECTOR];
            view.file.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!((bytes[0], bytes[SECTOR]), expected);
        }
    }

    #[test]
    fn only_what_no_flush_followed_can_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(dir.path());
        assert_eq!(disk.in_cache(1), [0]);
        assert_eq!(disk.in_cache(2), [0; 0]);
        assert_eq!(disk.in_cache(5), [2, 3, 4]);
    }
}
