//! The whole table of clusters of a FAT32, for a change of the credentials.
//!
//! `change` plans the change. The table is read whole and compared with every file of the
//! partition. A cluster that no file has is lost: an earlier change was cut off. It is free again.

use std::io;

use image_layout::Disk;

use crate::credentials::listing::find_folder;
use crate::store::aligned;
use crate::store::fat::{Fat, damaged};
use crate::store::folder::{self, Item};

/// Bytes of the largest table. A partition of 256 MiB, the largest that the bundler makes, has
/// 2 MiB.
const LARGEST: u64 = 4 << 20;
/// Folders that may lie in one another.
const DEPTH: usize = 16;
/// Clusters between a credential and any other file: 64 KiB or more. Then a failing write damages
/// nothing else, also on media that rewrite whole pages. The sectors of the table that it changes
/// are other sectors than those of the environment.
const APART: usize = 128;
/// Bytes of one write of content.
const PIECE: usize = 64 << 10;
/// The bits of an entry that are its value.
const VALUE: u32 = 0x0fff_ffff;
const BAD: u32 = 0x0fff_fff7;
const END: u32 = 0x0fff_ffff;
/// Places in the sector of file system information: its three signatures, and the count of free
/// clusters.
const INFO_SIGNATURES: [(usize, [u8; 4]); 3] =
    [(0, *b"RRaA"), (484, *b"rrAa"), (508, [0, 0, 0x55, 0xaa])];
const INFO_FREE: usize = 488;

/// Bytes and their place on the partition.
pub(crate) struct Write {
    pub(crate) place: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Who has a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// The content of a credential.
    Credential,
    /// A folder, or any other file.
    Other,
}

/// The table as it is to be. The partition has the old one until [`Table::writes`] are written.
pub(crate) struct Table {
    entries: Vec<u32>,
    owners: Vec<Owner>,
    cluster_bytes: usize,
}

impl Table {
    /// Reads the table and takes lost clusters back.
    ///
    /// # Errors
    /// It is no FAT32, too large, or damaged. Nothing may be written then.
    pub(crate) fn read<D: Disk>(fat: &Fat<'_, D>) -> io::Result<Self> {
        let (root, count) = fat.root_and_clusters()?;
        let bytes = u64::from(count) * 4;
        if bytes > LARGEST {
            return Err(damaged("its table of clusters is larger than that of any device"));
        }
        let read = aligned::read(fat.disk(), fat.table_place(0), bytes as usize, fat.granule())?;
        let entries: Vec<u32> = read.as_chunks().0.iter().map(|e| u32::from_le_bytes(*e)).collect();
        let owners = vec![Owner::Nobody; entries.len()];
        let mut table = Self { entries, owners, cluster_bytes: fat.cluster_bytes() };
        let credentials = find_folder(fat)?.map(|folder| folder.cluster);
        table.own(root, 0, Owner::Other)?;
        table.own_folder(fat, None, credentials, DEPTH)?;
        for (entry, owner) in table.entries.iter_mut().zip(&table.owners).skip(2) {
            if *owner == Owner::Nobody && *entry & VALUE != BAD {
                *entry &= !VALUE;
            }
        }
        Ok(table)
    }

    /// Gives everything in a folder its owner.
    fn own_folder<D: Disk>(
        &mut self,
        fat: &Fat<'_, D>,
        dir: Option<u32>,
        credentials: Option<u32>,
        depth: usize,
    ) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(|| damaged("its folders lie too deep"))?;
        let is_ours = dir.is_some() && dir == credentials;
        folder::list(fat, dir, &mut |item: Item| match item {
            // The clusters have their owner before the content, so no folder can hold itself.
            Item { is_folder: true, cluster, .. } => {
                self.own(cluster, 0, Owner::Other)?;
                self.own_folder(fat, Some(cluster), credentials, depth)
            }
            Item { cluster: 0, size: 0, .. } => Ok(()),
            Item { cluster, size, .. } => {
                self.own(cluster, size, if is_ours { Owner::Credential } else { Owner::Other })
            }
        })
    }

    /// Gives a chain of clusters, which holds at least `size` bytes, its owner.
    fn own(&mut self, first: u32, size: u32, owner: Owner) -> io::Result<()> {
        let (mut next, mut bytes) = (first, 0_u64);
        while (2..BAD).contains(&next) {
            match self.owners.get_mut(next as usize) {
                Some(place @ Owner::Nobody) => *place = owner,
                Some(_) => return Err(damaged("two files have the same cluster")),
                None => return Err(damaged("a file has a cluster beyond the end")),
            }
            bytes += self.cluster_bytes as u64;
            next = self.entries[next as usize] & VALUE;
        }
        if next <= BAD || bytes < u64::from(size) || bytes == 0 {
            return Err(damaged("the clusters of a file are not all there"));
        }
        Ok(())
    }

    /// Takes clusters for `size` bytes, at least one, for the content of a credential. They make
    /// one chain. None: there is no room.
    pub(crate) fn allocate(&mut self, size: usize) -> Option<Vec<u32>> {
        let wanted = size.div_ceil(self.cluster_bytes).max(1);
        let (mut taken, mut cluster) = (Vec::new(), 2);
        while taken.len() < wanted && cluster < self.owners.len() {
            let from = cluster.saturating_sub(APART);
            let until = self.owners.len().min(cluster + APART + 1);
            let mut near = self.owners[from..until].iter();
            if let Some(last) = near.rposition(|owner| *owner == Owner::Other) {
                cluster = from + last + APART;
            } else if self.entries[cluster] & VALUE == 0 {
                taken.push(cluster as u32);
            }
            cluster += 1;
        }
        if taken.len() < wanted {
            return None;
        }
        for (at, cluster) in taken.iter().enumerate() {
            self.link(*cluster, taken.get(at + 1).copied());
        }
        Some(taken)
    }

    /// Makes `next` follow `cluster`. None: the chain ends there.
    pub(crate) fn link(&mut self, cluster: u32, next: Option<u32>) {
        let entry = &mut self.entries[cluster as usize];
        *entry = *entry & !VALUE | next.unwrap_or(END);
    }

    /// Returns the cluster that follows. None: the chain ends there.
    pub(crate) fn next(&self, cluster: u32) -> Option<u32> {
        let next = self.entries[cluster as usize] & VALUE;
        (2..BAD).contains(&next).then_some(next)
    }

    /// Returns the last cluster of a chain that has an owner.
    pub(crate) fn last(&self, first: u32) -> u32 {
        let mut cluster = first;
        while let Some(next) = self.next(cluster) {
            cluster = next;
        }
        cluster
    }

    /// Frees a chain of clusters.
    pub(crate) fn free(&mut self, first: u32) {
        let mut next = first;
        while (2..BAD).contains(&next) {
            let Some(entry) = self.entries.get_mut(next as usize) else { break };
            next = *entry & VALUE;
            *entry &= !VALUE;
        }
    }

    /// Returns the writes that put `content` into clusters, and zeros behind it.
    pub(crate) fn content<D: Disk>(
        &self,
        fat: &Fat<'_, D>,
        clusters: &[u32],
        content: &[u8],
    ) -> io::Result<Vec<Write>> {
        let mut writes: Vec<Write> = Vec::new();
        for (at, cluster) in clusters.iter().enumerate() {
            let place = fat.cluster_place(*cluster)?;
            let from = content.len().min(at * self.cluster_bytes);
            let mut bytes = content[from..content.len().min(from + self.cluster_bytes)].to_vec();
            bytes.resize(self.cluster_bytes, 0);
            match writes.last_mut() {
                Some(last)
                    if last.place + last.bytes.len() as u64 == place
                        && last.bytes.len() < PIECE =>
                {
                    last.bytes.extend(bytes);
                }
                _ => writes.push(Write { place, bytes }),
            }
        }
        Ok(writes)
    }

    /// Returns the writes that make every copy of the table this one. The last one is that of the
    /// count of free clusters, which some programs believe.
    pub(crate) fn writes<D: Disk>(&self, fat: &Fat<'_, D>) -> io::Result<Vec<Write>> {
        let bytes: Vec<u8> = self.entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let sector = fat.granule() as usize;
        let mut writes = Vec::new();
        for copy in 0..fat.tables() {
            let start = fat.table_place(copy);
            let now = aligned::read(fat.disk(), start, bytes.len(), fat.granule())?;
            let pieces = bytes.chunks(sector).zip(now.chunks(sector)).enumerate();
            for (at, (wanted, _)) in pieces.filter(|(_, (wanted, now))| wanted != now) {
                let place = start + (at * sector) as u64;
                writes.push(Write { place, bytes: wanted.to_vec() });
            }
        }
        let place = fat.info_place();
        let mut info = aligned::read(fat.disk(), place, 512, fat.granule())?;
        let is_info = INFO_SIGNATURES.iter().all(|(at, bytes)| info[*at..].starts_with(bytes));
        let free = self.entries[2..].iter().filter(|entry| **entry & VALUE == 0).count() as u32;
        if is_info && info[INFO_FREE..][..4] != free.to_le_bytes() {
            info[INFO_FREE..][..4].copy_from_slice(&free.to_le_bytes());
            writes.push(Write { place, bytes: info });
        }
        Ok(writes)
    }
}
