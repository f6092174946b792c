//! The skeleton of a FAT32 volume: boot sectors, FATs, runs of clusters.
//!
//! `esp` says which files are in it. Clusters are handed out in order, and none is ever freed.

use std::io;

const SECTOR: usize = 512;
/// Sectors before the first FAT. Microsoft's formatter has 32 too.
const RESERVED: usize = 32;
/// Fewer clusters than this make a FAT16. With one sector a cluster, 36 MiB have more clusters than
/// this.
const MIN_CLUSTERS: usize = 65_525;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// Cluster of the root folder, which is the first cluster.
pub(crate) const ROOT: u32 = 2;

/// A volume that is being made. Clusters are handed out in order and none is ever freed.
pub(crate) struct Volume {
    bytes: Vec<u8>,
    fat: Vec<u32>,
    fat_sectors: usize,
    /// First cluster that is not taken, counted from 0 for cluster 2
    next: usize,
    clusters: usize,
    volume_id: u32,
}

impl Volume {
    /// Returns an empty volume of `size` bytes. The first allocation has to be that of [`ROOT`].
    pub(crate) fn new(size: u64, volume_id: u32) -> io::Result<Self> {
        let sectors = usize::try_from(size / SECTOR as u64).map_err(io::Error::other)?;
        // The length is a multiple of 4 sectors, rather too long than too short. So both FATs
        // together end on 4 KiB.
        let fat_sectors = (sectors * 4).div_ceil(SECTOR).next_multiple_of(4);
        let clusters = sectors.saturating_sub(RESERVED + 2 * fat_sectors);
        if clusters < MIN_CLUSTERS {
            return Err(io::Error::other("too small for FAT32"));
        }
        let fat = vec![0x0fff_fff8, END_OF_CHAIN];
        Ok(Self {
            bytes: vec![0; sectors * SECTOR],
            fat,
            fat_sectors,
            next: 0,
            clusters,
            volume_id,
        })
    }

    /// Takes a run of clusters for `length` bytes. Counted from the first cluster of the volume,
    /// the run begins on a multiple of `alignment`.
    pub(crate) fn allocate(&mut self, length: usize, alignment: usize) -> io::Result<u32> {
        let first = self.next.next_multiple_of(alignment);
        let count = length.div_ceil(SECTOR).max(1);
        if first + count > self.clusters {
            return Err(io::Error::other("the files do not fit"));
        }
        self.next = first + count;
        self.fat.resize(first + 2, 0);
        let start = first as u32 + 2;
        self.fat.extend((1..count as u32).map(|nth| start + nth));
        self.fat.push(END_OF_CHAIN);
        Ok(start)
    }

    /// Writes `content` from the start of `cluster` on.
    pub(crate) fn write(&mut self, cluster: u32, content: &[u8]) {
        if !content.is_empty() {
            let at = (RESERVED + 2 * self.fat_sectors + cluster as usize - 2) * SECTOR;
            self.bytes[at..at + content.len()].copy_from_slice(content);
        }
    }

    /// Returns the bytes, with both FATs and the boot sectors.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let fat: Vec<u8> = self.fat.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        for copy in 0..2 {
            let at = (RESERVED + copy * self.fat_sectors) * SECTOR;
            self.bytes[at..at + fat.len()].copy_from_slice(&fat);
        }
        let used = self.fat[2..].iter().filter(|&&entry| entry != 0).count();
        let (boot, info) = (self.boot_sector(), fs_info(self.clusters - used, self.next + 2));
        // The backup of both lies in sectors 6 and 7.
        for at in [0, 6] {
            self.bytes[at * SECTOR..(at + 1) * SECTOR].copy_from_slice(&boot);
            self.bytes[(at + 1) * SECTOR..(at + 2) * SECTOR].copy_from_slice(&info);
        }
        self.bytes
    }

    fn boot_sector(&self) -> [u8; SECTOR] {
        let mut boot = [0; SECTOR];
        let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"DARUMA  ");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[1]); // sectors a cluster
        put(14, &(RESERVED as u16).to_le_bytes());
        put(16, &[2]); // FATs
        put(21, &[0xf8]); // a fixed disk
        put(24, &63_u16.to_le_bytes());
        put(26, &255_u16.to_le_bytes());
        put(32, &((self.bytes.len() / SECTOR) as u32).to_le_bytes());
        put(36, &(self.fat_sectors as u32).to_le_bytes());
        put(44, &ROOT.to_le_bytes());
        put(48, &1_u16.to_le_bytes()); // FSInfo
        put(50, &6_u16.to_le_bytes()); // backup boot sector
        put(64, &[0x80, 0, 0x29]);
        put(67, &self.volume_id.to_le_bytes());
        put(71, b"NO NAME    FAT32   ");
        put(90, &[0xcd, 0x18, 0xeb, 0xfe]); // int 18h: let the BIOS try the next device
        put(510, &[0x55, 0xaa]);
        boot
    }
}

fn fs_info(free: usize, next: usize) -> [u8; SECTOR] {
    let mut info = [0; SECTOR];
    info[0..4].copy_from_slice(b"RRaA");
    info[484..488].copy_from_slice(b"rrAa");
    info[488..492].copy_from_slice(&(free as u32).to_le_bytes());
    info[492..496].copy_from_slice(&(next as u32).to_le_bytes());
    info[510..512].copy_from_slice(&[0x55, 0xaa]);
    info
}
