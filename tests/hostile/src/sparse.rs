//! A disk of mostly zeros, which an input describes in few bytes.
//!
//! `boot`, `partitions` and `squashfs` read from it. It counts transfers and panics when a reader
//! makes too many.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

use image_layout::Disk;

pub(crate) const SECTOR: usize = 512;

/// The input is the number of sectors of the disk (u32) and the sectors that are not zero. Each has
/// its number (u32) and its 512 bytes.
///
/// All numbers are little endian. The last sector may be cut short. Of equal numbers the last one
/// counts.
#[derive(Debug)]
pub(crate) struct Sparse {
    size: u64,
    pub(crate) sectors: RefCell<BTreeMap<u64, [u8; SECTOR]>>,
    /// Number of transfers that may still be made. No input may keep a reader busy for ever.
    budget: Cell<u64>,
    /// Offset and length of every write.
    pub(crate) writes: RefCell<Vec<(u64, usize)>>,
}

impl Sparse {
    /// Reads an input. `most` limits the size of the disk, in sectors. `budget` limits the number
    /// of transfers.
    pub(crate) fn decode(input: &[u8], most: u64, budget: u64) -> Option<Self> {
        let (size, records) = input.split_first_chunk()?;
        let size = u64::from(u32::from_le_bytes(*size)).min(most) * SECTOR as u64;
        let mut sectors = BTreeMap::new();
        for record in records.chunks(4 + SECTOR) {
            let Some((number, bytes)) = record.split_first_chunk() else { break };
            let mut sector = [0; SECTOR];
            sector[..bytes.len()].copy_from_slice(bytes);
            sectors.insert(u64::from(u32::from_le_bytes(*number)), sector);
        }
        let (sectors, budget, writes) =
            (RefCell::new(sectors), Cell::new(budget), RefCell::default());
        Some(Self { size, sectors, budget, writes })
    }

    /// Returns the input that describes `image`.
    pub(crate) fn encode(image: &[u8]) -> Vec<u8> {
        let mut input = ((image.len() / SECTOR) as u32).to_le_bytes().to_vec();
        for (number, sector) in (0u32..).zip(image.chunks(SECTOR)) {
            if sector.iter().any(|byte| *byte != 0) {
                input.extend(number.to_le_bytes());
                input.extend(sector);
            }
        }
        input
    }

    fn range(&self, offset: u64, len: usize) -> io::Result<std::ops::Range<u64>> {
        let left = self.budget.get();
        assert!(left > 0, "more transfers than any whole disk needs");
        self.budget.set(left - 1);
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.size);
        Ok(offset..end.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    /// Calls `visit` with a sector's number, the range in it and the range in the buffer.
    fn pieces(
        range: std::ops::Range<u64>,
        mut visit: impl FnMut(u64, usize, std::ops::Range<usize>),
    ) {
        let mut at = range.start;
        while at < range.end {
            let within = (at % SECTOR as u64) as usize;
            let len = (SECTOR - within).min((range.end - at) as usize);
            let done = (at - range.start) as usize;
            visit(at / SECTOR as u64, within, done..done + len);
            at += len as u64;
        }
    }
}

impl Disk for Sparse {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let range = self.range(offset, buf.len())?;
        buf.fill(0);
        let sectors = self.sectors.borrow();
        Self::pieces(range, |number, within, place| {
            if let Some(sector) = sectors.get(&number) {
                let len = place.len();
                buf[place].copy_from_slice(&sector[within..within + len]);
            }
        });
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let range = self.range(offset, buf.len())?;
        self.writes.borrow_mut().push((offset, buf.len()));
        let mut sectors = self.sectors.borrow_mut();
        Self::pieces(range, |number, within, place| {
            let sector = sectors.entry(number).or_insert([0; SECTOR]);
            sector[within..within + place.len()].copy_from_slice(&buf[place]);
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
