//! Finds the bytes of a file on a FAT12, FAT16 or FAT32, read-only and bounded.
//!
//! `copies` knows what is in the files.
//!
//! The layout follows Microsoft's "FAT: General Overview of On-Disk Format" 1.03. Nothing on the
//! disk is trusted: every number is checked before it is used, and every chain has a maximum
//! length. This file looks only at short (8.3) names, because all names that GRUB uses are short.
//! `folder` reads long names.

use std::io;

use image_layout::{Disk, FAT_ENTRY as DIR_ENTRY};

use crate::store::aligned;

/// A directory has at most 65,536 entries of 32 bytes (page 23 of the specification).
const MAX_DIR_BYTES: u64 = 65_536 * DIR_ENTRY as u64;
pub(crate) const ATTR_VOLUME_ID: u8 = 0x08;
pub(crate) const ATTR_DIRECTORY: u8 = 0x10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// A FAT's geometry; all offsets and sizes are bytes from the start of the partition.
#[derive(Debug)]
pub(crate) struct Fat<'d, D> {
    disk: &'d D,
    granule: u32,
    width: Width,
    fat_start: u64,
    /// Bytes of one copy of the table, and how many copies there are
    fat_bytes: u64,
    fats: u64,
    info_place: u64,
    root_start: u64,
    /// Bytes of the fixed root directory; zero on FAT32.
    root_bytes: u64,
    root_cluster: u32,
    data_start: u64,
    cluster_bytes: u64,
    clusters: u32,
}

/// A run of bytes on the partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

/// A directory entry and where it lies.
struct Entry {
    offset: u64,
    bytes: [u8; DIR_ENTRY],
}

/// The result of looking up a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// There is no such file.
    Missing,
    /// A directory, or a file whose attributes were damaged. `entry` is the offset of the directory
    /// entry.
    Directory { entry: u64 },
    /// A file: the offset of its directory entry, the size in that entry, and where the first bytes
    /// lie. The bytes are fewer than asked for if the file is shorter or its chain of clusters is
    /// broken.
    File { entry: u64, size: u32, extents: Vec<Extent> },
}

/// Place of the attributes in a directory entry: 1 byte.
pub(crate) const ENTRY_ATTRIBUTES: u64 = 11;
/// Place of the upper half of the first cluster in a directory entry: 2 bytes.
pub(crate) const ENTRY_CLUSTER_HIGH: u64 = 20;
/// Place of the lower half of the first cluster (2 bytes). The size (4 bytes) follows it.
pub(crate) const ENTRY_CLUSTER_LOW_AND_SIZE: u64 = 26;

pub(crate) fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl<'d, D: Disk> Fat<'d, D> {
    /// Reads the boot sector. `granule` is the size of the aligned reads.
    pub(crate) fn open(disk: &'d D, granule: u32) -> io::Result<Self> {
        let boot = aligned::read(disk, 0, 512, granule)?;
        let u16_at = |at: usize| u16::from_le_bytes([boot[at], boot[at + 1]]);
        let u32_at =
            |at: usize| u32::from_le_bytes([boot[at], boot[at + 1], boot[at + 2], boot[at + 3]]);
        if boot[510..512] != [0x55, 0xaa] {
            return Err(damaged("no boot sector signature"));
        }
        let sector = u64::from(u16_at(11));
        if !matches!(sector, 512 | 1024 | 2048 | 4096) {
            return Err(damaged(format!("sectors of {sector} bytes")));
        }
        let per_cluster = u64::from(boot[13]);
        let (reserved, fats) = (u64::from(u16_at(14)), u64::from(boot[16]));
        if !per_cluster.is_power_of_two() || reserved == 0 || fats == 0 {
            return Err(damaged("cluster size, reserved sectors or number of FATs is zero"));
        }
        let either =
            |short: u16, long: u32| if short != 0 { u64::from(short) } else { u64::from(long) };
        let total = either(u16_at(19), u32_at(32));
        let fat_sectors = either(u16_at(22), u32_at(36));
        let root_bytes = u64::from(u16_at(17)) * DIR_ENTRY as u64;
        let root_sector = reserved + fats * fat_sectors;
        let data_sector = root_sector + root_bytes.div_ceil(sector);
        if fat_sectors == 0 || total * sector > disk.size()? {
            return Err(damaged("it claims to be larger than its partition"));
        }
        let clusters = total.checked_sub(data_sector).ok_or_else(|| damaged("no room for data"))?
            / per_cluster;
        let width = match clusters {
            0..4085 => Width::Fat12,
            4085..65525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let bits = [12, 16, 32][width as usize];
        if (clusters + 2) * bits > fat_sectors * sector * 8 {
            return Err(damaged("its table is too small for its clusters"));
        }
        Ok(Self {
            disk,
            granule,
            width,
            fat_start: reserved * sector,
            fat_bytes: fat_sectors * sector,
            fats,
            info_place: u64::from(u16_at(48)) * sector,
            root_start: root_sector * sector,
            root_bytes: if width == Width::Fat32 { 0 } else { root_bytes },
            root_cluster: u32_at(44),
            data_start: data_sector * sector,
            cluster_bytes: per_cluster * sector,
            clusters: u32::try_from(clusters).map_err(|_| damaged("too many clusters"))?,
        })
    }

    /// Returns the partition.
    pub(crate) fn disk(&self) -> &'d D {
        self.disk
    }

    /// Returns the size of the aligned reads in bytes.
    pub(crate) fn granule(&self) -> u32 {
        self.granule
    }

    /// Returns the root's cluster, and the number of entries of the table of clusters.
    ///
    /// # Errors
    /// It is no FAT32.
    pub(crate) fn root_and_clusters(&self) -> io::Result<(u32, u32)> {
        if self.width == Width::Fat32 {
            return Ok((self.root_cluster, self.clusters + 2));
        }
        Err(damaged("it is a FAT12 or FAT16, and this program changes only a FAT32"))
    }

    /// Returns the number of copies of the table of clusters.
    pub(crate) fn tables(&self) -> u64 {
        self.fats
    }

    /// Returns where a copy of the table begins.
    pub(crate) fn table_place(&self, copy: u64) -> u64 {
        self.fat_start + copy * self.fat_bytes
    }

    /// Returns where the sector of file system information of a FAT32 lies.
    pub(crate) fn info_place(&self) -> u64 {
        self.info_place
    }

    /// Returns the bytes of a cluster.
    pub(crate) fn cluster_bytes(&self) -> usize {
        self.cluster_bytes as usize
    }

    /// Returns where a cluster lies.
    ///
    /// # Errors
    /// There is no such cluster.
    pub(crate) fn cluster_place(&self, cluster: u32) -> io::Result<u64> {
        self.cluster_offset(cluster).ok_or_else(|| damaged("a cluster lies beyond the end"))
    }

    /// Looks up a path, and where the file's first `wanted` bytes lie.
    pub(crate) fn find(&self, path: &str, wanted: usize) -> io::Result<Found> {
        let mut dir = None;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let Some(Entry { offset, bytes: entry }) = self.entry(dir, &short_name(name)?)? else {
                return Ok(Found::Missing);
            };
            let is_dir = entry[11] & ATTR_DIRECTORY != 0;
            let cluster = self.first_cluster(&entry);
            if names.peek().is_none() && is_dir {
                return Ok(Found::Directory { entry: offset });
            }
            if names.peek().is_none() {
                let size = u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]);
                let extents = self.extents(cluster, wanted.min(size as usize))?;
                return Ok(Found::File { entry: offset, size, extents });
            }
            if !is_dir {
                return Ok(Found::Missing);
            }
            dir = Some(cluster);
        }
        Ok(Found::Missing)
    }

    /// Returns where a folder's entries lie (`None` is the root). They end at the first entry that
    /// begins with 0.
    ///
    /// # Errors
    /// The folder is longer than a folder can be, as one whose clusters run in a circle is.
    pub(crate) fn folder(&self, dir: Option<u32>) -> io::Result<Vec<Extent>> {
        if dir.is_none() && self.width != Width::Fat32 {
            return Ok(vec![Extent { offset: self.root_start, len: self.root_bytes as usize }]);
        }
        let clusters = self.chain(dir.unwrap_or(self.root_cluster), MAX_DIR_BYTES)?;
        let place = |cluster| {
            Ok(Extent { offset: self.cluster_place(cluster)?, len: self.cluster_bytes as usize })
        };
        clusters.into_iter().map(place).collect()
    }

    /// Returns the clusters of a chain of at most `max_bytes`.
    fn chain(&self, first: u32, max_bytes: u64) -> io::Result<Vec<u32>> {
        let (mut clusters, mut next) = (Vec::new(), Some(first));
        while let Some(cluster) = next {
            clusters.push(cluster);
            if clusters.len() as u64 * self.cluster_bytes > max_bytes {
                return Err(damaged("a chain of clusters is too long or runs in a circle"));
            }
            next = self.next_cluster(cluster)?;
        }
        Ok(clusters)
    }

    /// Returns all bytes of a file of `size` bytes whose first cluster is `first`. The caller has
    /// made sure that `size` is small enough for the memory.
    ///
    /// # Errors
    /// A cluster is missing, or there are too many.
    pub(crate) fn content(&self, first: u32, size: u32) -> io::Result<Vec<u8>> {
        if size == 0 {
            return Ok(Vec::new());
        }
        // One cluster more than needed is set aside by some programs.
        self.chain(first, u64::from(size) + 2 * self.cluster_bytes)?;
        let mut bytes = Vec::with_capacity(size as usize);
        for extent in self.extents(first, size as usize)? {
            bytes.extend(aligned::read(self.disk, extent.offset, extent.len, self.granule)?);
        }
        if bytes.len() == size as usize {
            return Ok(bytes);
        }
        Err(damaged("its clusters are not all there"))
    }

    /// Returns the first cluster in a directory entry.
    pub(crate) fn first_cluster(&self, entry: &[u8; DIR_ENTRY]) -> u32 {
        let high =
            if self.width == Width::Fat32 { u16::from_le_bytes([entry[20], entry[21]]) } else { 0 };
        u32::from(high) << 16 | u32::from(u16::from_le_bytes([entry[26], entry[27]]))
    }

    /// Finds a short name in a directory (`None` is the root).
    fn entry(&self, dir: Option<u32>, name: &[u8; 11]) -> io::Result<Option<Entry>> {
        let mut bytes_seen = 0;
        let mut next = match dir {
            None if self.width != Width::Fat32 => {
                let root = aligned::read(
                    self.disk,
                    self.root_start,
                    self.root_bytes as usize,
                    self.granule,
                )?;
                return Ok(scan(&root, self.root_start, name).unwrap_or_default());
            }
            None => Some(self.root_cluster),
            Some(cluster) => Some(cluster),
        };
        while let Some(cluster) = next {
            let offset = self
                .cluster_offset(cluster)
                .ok_or_else(|| damaged("a directory has a cluster beyond the end"))?;
            let bytes =
                aligned::read(self.disk, offset, self.cluster_bytes as usize, self.granule)?;
            if let Some(outcome) = scan(&bytes, offset, name) {
                return Ok(outcome);
            }
            bytes_seen += self.cluster_bytes;
            if bytes_seen > MAX_DIR_BYTES {
                return Err(damaged("a directory is longer than a directory can be"));
            }
            next = self.next_cluster(cluster)?;
        }
        Ok(None)
    }

    /// Returns the first `wanted` bytes of a chain, or fewer if the chain breaks off.
    fn extents(&self, first: u32, wanted: usize) -> io::Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let (mut left, mut next) = (wanted, Some(first));
        while left > 0 {
            let Some(offset) = next.and_then(|cluster| self.cluster_offset(cluster)) else { break };
            let len = left.min(self.cluster_bytes as usize);
            extents.push(Extent { offset, len });
            left -= len;
            next = next.map_or(Ok(None), |cluster| self.next_cluster(cluster))?;
        }
        Ok(extents)
    }

    fn cluster_offset(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(2).filter(|&index| index < self.clusters)?;
        Some(self.data_start + u64::from(index) * self.cluster_bytes)
    }

    /// Returns the cluster that follows; `None` at an end, a free or a bad entry.
    fn next_cluster(&self, cluster: u32) -> io::Result<Option<u32>> {
        let cluster = u64::from(cluster);
        let next = match self.width {
            Width::Fat12 => {
                let pair = aligned::read(
                    self.disk,
                    self.fat_start + cluster + cluster / 2,
                    2,
                    self.granule,
                )?;
                let both = u16::from_le_bytes([pair[0], pair[1]]);
                u32::from(if cluster % 2 == 1 { both >> 4 } else { both & 0x0fff })
            }
            Width::Fat16 => {
                let pair = aligned::read(self.disk, self.fat_start + cluster * 2, 2, self.granule)?;
                u32::from(u16::from_le_bytes([pair[0], pair[1]]))
            }
            Width::Fat32 => {
                let four = aligned::read(self.disk, self.fat_start + cluster * 4, 4, self.granule)?;
                u32::from_le_bytes([four[0], four[1], four[2], four[3]]) & 0x0fff_ffff
            }
        };
        // End marks and the bad mark are above every valid number, and the free mark is below.
        Ok((2..self.clusters + 2).contains(&next).then_some(next))
    }
}

/// Looks through directory entries, which start at `offset`. Returns `None` to go on, and
/// `Some(None)` at the directory's end.
fn scan(bytes: &[u8], offset: u64, name: &[u8; 11]) -> Option<Option<Entry>> {
    for (index, entry) in bytes.chunks_exact(DIR_ENTRY).enumerate() {
        if entry[0] == 0 {
            return Some(None);
        }
        // Parts of long names carry the volume bit. Deleted entries start with 0xe5, and no name of
        // Daruma's does.
        if entry[11] & ATTR_VOLUME_ID == 0 && entry[..11].eq_ignore_ascii_case(name) {
            let offset = offset + (index * DIR_ENTRY) as u64;
            return entry.try_into().ok().map(|bytes| Some(Entry { offset, bytes }));
        }
    }
    None
}

/// Returns a name as a directory spells it: `grubenv.bak` is `GRUBENV BAK`.
fn short_name(name: &str) -> io::Result<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let mut short = [b' '; 11];
    if base.is_empty() || base.len() > 8 || extension.len() > 3 {
        return Err(damaged(format!("{name} is not a short FAT name")));
    }
    short[..base.len()].copy_from_slice(base.to_ascii_uppercase().as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.to_ascii_uppercase().as_bytes());
    Ok(short)
}
