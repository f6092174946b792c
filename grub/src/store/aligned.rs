//! Reads and writes any range through whole, aligned sectors.
//!
//! The callers know what they read. `O_DIRECT` refuses anything that is not aligned.

use std::io;

use image_layout::Disk;

/// Memory alignment for `O_DIRECT`. No device has a larger logical sector, so this is enough for
/// every device.
const MEMORY_ALIGN: usize = 4096;

/// Smallest write that a disk does at once, unless the FAT names another size.
pub(crate) const SECTOR: u32 = 512;

/// Returns the size of the sectors of the FAT on a partition, which a write is at least as large
/// as.
pub(crate) fn sector_size<D: Disk>(esp: &D) -> io::Result<u32> {
    // 4,096 fits every device. If the partition is no multiple of it, its device has small sectors.
    let probe = if esp.size()?.is_multiple_of(4096) { 4096 } else { SECTOR };
    let boot = read(esp, 0, 512, probe)?;
    Ok(match u16::from_le_bytes([boot[11], boot[12]]) {
        large @ (1024 | 2048 | 4096) => u32::from(large),
        _ => SECTOR,
    })
}

/// A zeroed buffer whose start is aligned in memory.
pub(crate) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + MEMORY_ALIGN];
        // For `u8` a pointer can always be aligned, so the fallback is only for the compiler.
        let start = bytes.as_ptr().align_offset(MEMORY_ALIGN).min(MEMORY_ALIGN);
        Self { bytes, start, len }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// Returns the sectors of `granule` bytes that hold `len` bytes at `offset`: start and length in
/// bytes.
fn cover(offset: u64, len: usize, granule: u32) -> io::Result<(u64, usize)> {
    let granule = u64::from(granule);
    let beyond =
        || io::Error::new(io::ErrorKind::InvalidInput, "range beyond the end of the partition");
    let start = offset - offset % granule;
    let end = offset
        .checked_add(len as u64)
        .and_then(|end| end.checked_next_multiple_of(granule))
        .ok_or_else(beyond)?;
    Ok((start, usize::try_from(end - start).map_err(|_| beyond())?))
}

/// Reads `len` bytes at `offset`.
pub(crate) fn read<D: Disk>(
    disk: &D,
    offset: u64,
    len: usize,
    granule: u32,
) -> io::Result<Vec<u8>> {
    let (start, covered) = cover(offset, len, granule)?;
    if start + covered as u64 > disk.size()? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut buffer = AlignedBuffer::new(covered);
    disk.read_at(buffer.as_mut(), start)?;
    let skip = (offset - start) as usize;
    Ok(buffer.as_slice()[skip..skip + len].to_vec())
}

/// Writes `data` at `offset`. Rewrites the sectors that `data` lies in, in one write.
pub(crate) fn write<D: Disk>(disk: &D, offset: u64, data: &[u8], granule: u32) -> io::Result<()> {
    let (start, covered) = cover(offset, data.len(), granule)?;
    if start + covered as u64 > disk.size()? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut buffer = AlignedBuffer::new(covered);
    let skip = (offset - start) as usize;
    if covered != data.len() {
        disk.read_at(buffer.as_mut(), start)?;
    }
    buffer.as_mut()[skip..skip + data.len()].copy_from_slice(data);
    disk.write_at(buffer.as_slice(), start)
}
