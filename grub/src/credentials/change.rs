//! Sets and removes credentials so that a power cut leaves the old one or the new one, whole.
//!
//! `table` hands out clusters. A change is planned in memory and written in steps, each durable
//! before the next: content into free clusters, the table of clusters, and last the entries of the
//! folder. The sector of the short entry decides, and it is one write. A credential that is
//! replaced keeps its entries: the short one gets another cluster and size. A cut leaves lost
//! clusters at most, which the next change takes back. No other file is written or moved, so GRUB
//! finds the environment where it was.

use std::io;

use image_layout::{Disk, FAT_ENTRY, LongName, long_name_entries, short_alias};
use thiserror::Error;

use crate::credentials::listing::{CredentialStore, credential_name, find_folder};
use crate::credentials::name::{
    BadCredential, CREDENTIAL_ENDING, CREDENTIALS_FOLDER, CredentialRoom, check_credential_name,
};
use crate::credentials::table::{Table, Write};
use crate::store::aligned;
use crate::store::fat::{Fat, damaged};
use crate::store::folder::{self, Item, REMOVED};

/// The attribute of a plain file, and that of a folder.
const FILE: u8 = 0x20;
const DIRECTORY: u8 = 0x10;
/// The date of every entry: 1 January 1980, FAT's first day.
const FIRST_DAY: u16 = 0x0021;

/// Why a credential is not changed. The partition then has what it had.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// The name or the content is refused: the name, and why.
    #[error("{0} {1}")]
    Bad(String, BadCredential),
    /// There is no room for it.
    #[error("the partition has no room for it; remove another credential first")]
    NoRoom,
    /// The partition is damaged, or cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A directory entry.
type Entry = [u8; FAT_ENTRY];

impl<D: Disk> CredentialStore<D> {
    /// Adds a credential, or replaces the one of that name. Returns false, and writes nothing, if
    /// it is there already.
    ///
    /// # Errors
    /// See [`CredentialError`].
    pub fn set(&self, name: &str, content: &[u8]) -> Result<bool, CredentialError> {
        self.check(name, content.len())?;
        let fat = self.fat()?;
        let file = format!("{name}{CREDENTIAL_ENDING}");
        let folder = find_folder(&fat)?.map(|folder| folder.cluster);
        let old = find_file(&fat, folder, &file)?;
        if old.as_ref().is_some_and(|old| credential_name(&old.name) != Some(name)) {
            return Err(CredentialError::Bad(name.to_owned(), BadCredential::Case));
        }
        let size = content.len() as u32;
        if let Some(old) = &old
            && old.size == size
            && fat.content(old.cluster, size).is_ok_and(|now| now == content)
        {
            return Ok(false);
        }
        let mut change = Change::new(&fat)?;
        let first = if content.is_empty() { 0 } else { change.put(&|_| content.to_vec())? };
        match (folder, &old) {
            (_, Some(old)) => {
                let mut entry = change.entry(old.place())?;
                point(&mut entry, first, size);
                change.entries.push((old.place(), entry));
            }
            (Some(folder), None) => {
                let entries = named(&fat, Some(folder), &file, FILE, first, size)?;
                change.add(Some(folder), &entries)?;
            }
            (None, None) => {
                let inside = named(&fat, None, &file, FILE, first, size)?.concat();
                // The entry `..` has 0 for the root, whatever the root's cluster is.
                let folder = change.put(&|own| {
                    let dots = [
                        short_entry(*b".          ", DIRECTORY, own, 0),
                        short_entry(*b"..         ", DIRECTORY, 0, 0),
                    ];
                    [&dots.concat()[..], &inside].concat()
                })?;
                let entries = named(&fat, None, CREDENTIALS_FOLDER, DIRECTORY, folder, 0)?;
                change.add(None, &entries)?;
            }
        }
        change.write(old.map(|old| old.cluster))?;
        Ok(true)
    }

    /// Removes a credential, also one that no boot takes. Returns false if there is none of that
    /// name.
    ///
    /// # Errors
    /// [`CredentialError::Io`].
    pub fn remove(&self, name: &str) -> Result<bool, CredentialError> {
        let fat = self.fat()?;
        let folder = find_folder(&fat)?.map(|folder| folder.cluster);
        let file = format!("{name}{CREDENTIAL_ENDING}");
        let old = find_file(&fat, folder, &file)?;
        let Some(old) = old.filter(|old| credential_name(&old.name) == Some(name)) else {
            return Ok(false);
        };
        let mut change = Change::new(&fat)?;
        // The short entry comes last in a folder and goes first here.
        for place in old.places.iter().rev() {
            let mut entry = change.entry(*place)?;
            entry[0] = REMOVED;
            change.entries.push((*place, entry));
        }
        change.write(Some(old.cluster))?;
        Ok(true)
    }

    fn check(&self, name: &str, size: usize) -> Result<(), CredentialError> {
        let bad = |why| CredentialError::Bad(name.to_owned(), why);
        check_credential_name(name).map_err(bad)?;
        let mut room = CredentialRoom::default();
        for other in self.list()?.credentials {
            if other.name != name {
                room.take(other.size as usize).map_err(bad)?;
            }
        }
        room.take(size).map_err(bad)
    }
}

/// A change that is not written yet.
struct Change<'f, 'd, D> {
    fat: &'f Fat<'d, D>,
    table: Table,
    /// Content of clusters that no file has yet
    content: Vec<Write>,
    /// The last cluster of a folder, and the new one behind it, which is full of zeros
    longer_folder: Option<(u32, u32)>,
    /// Entries of folders and their places, in the order in which they are written
    entries: Vec<(u64, Entry)>,
}

impl<'f, 'd, D: Disk> Change<'f, 'd, D> {
    fn new(fat: &'f Fat<'d, D>) -> io::Result<Self> {
        let table = Table::read(fat)?;
        Ok(Self { fat, table, content: Vec::new(), longer_folder: None, entries: Vec::new() })
    }

    /// Puts content into new clusters and returns the first. The content may depend on that one,
    /// but not its length.
    fn put(&mut self, content: &dyn Fn(u32) -> Vec<u8>) -> Result<u32, CredentialError> {
        let clusters = self.table.allocate(content(0).len()).ok_or(CredentialError::NoRoom)?;
        let writes = self.table.content(self.fat, &clusters, &content(clusters[0]))?;
        self.content.extend(writes);
        Ok(clusters[0])
    }

    /// Adds the entries of a file to a folder (`None` is the root), which grows if it must.
    fn add(&mut self, dir: Option<u32>, entries: &[Entry]) -> Result<(), CredentialError> {
        let mut used = Vec::new();
        folder::list(self.fat, dir, &mut |item| {
            used.extend(item.places);
            Ok(())
        })?;
        let mut is_behind_the_end = false;
        let mut slots: Vec<(u64, bool)> = folder::entries(self.fat, dir)?
            .map(|(place, entry)| {
                is_behind_the_end |= entry[0] == 0;
                // Entries of a long name that belong to no file are left from a power cut.
                let is_left = LongName::is_part(&entry) && !used.contains(&place);
                (place, is_behind_the_end || is_left || entry[0] == REMOVED)
            })
            .collect();
        let run = |slots: &[(u64, bool)]| {
            slots.windows(entries.len()).position(|run| run.iter().all(|(_, is_free)| *is_free))
        };
        let at = match run(&slots) {
            Some(at) => at,
            None => {
                let length = entries.len() * FAT_ENTRY;
                let new = self.put(&|_| vec![0; length])?;
                let root = self.fat.root_and_clusters()?.0;
                self.longer_folder = Some((self.table.last(dir.unwrap_or(root)), new));
                let mut next = Some(new);
                while let Some(cluster) = next {
                    let place = self.fat.cluster_place(cluster)?;
                    let end = place + self.fat.cluster_bytes() as u64;
                    slots.extend((place..end).step_by(FAT_ENTRY).map(|place| (place, true)));
                    next = self.table.next(cluster);
                }
                run(&slots).ok_or(CredentialError::NoRoom)?
            }
        };
        // What is behind the end of a folder may be anything. It must not become part of it.
        if let Some((place, true)) = slots.get(at + entries.len()) {
            let mut entry = self.entry(*place)?;
            if entry[0] != REMOVED && entry[0] != 0 {
                entry[0] = 0;
                self.entries.push((*place, entry));
            }
        }
        let places = slots[at..].iter().map(|(place, _)| *place);
        self.entries.extend(places.zip(entries.iter().copied()));
        Ok(())
    }

    /// Returns the entry at a place.
    fn entry(&self, place: u64) -> io::Result<Entry> {
        let bytes = aligned::read(self.fat.disk(), place, FAT_ENTRY, self.fat.granule())?;
        bytes.try_into().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    /// Writes the change, and then frees the clusters of the old content.
    fn write(mut self, old: Option<u32>) -> io::Result<()> {
        self.durably(&self.content)?;
        for Write { place, bytes } in &self.content {
            let kept = aligned::read(self.fat.disk(), *place, bytes.len(), self.fat.granule())?;
            if kept != *bytes {
                return Err(io::Error::other(
                    "the disk does not give back what was written; it is failing",
                ));
            }
        }
        self.durably(&self.table.writes(self.fat)?)?;
        if let Some((last, new)) = self.longer_folder {
            self.table.link(last, Some(new));
            self.durably(&self.table.writes(self.fat)?)?;
        }
        // Entries in one sector are one write.
        let sector = u64::from(self.fat.granule());
        let is_same = |a: &(u64, Entry), b: &(u64, Entry)| a.0 / sector == b.0 / sector;
        for together in self.entries.chunk_by(is_same) {
            let place = together[0].0 / sector * sector;
            let mut bytes =
                aligned::read(self.fat.disk(), place, sector as usize, self.fat.granule())?;
            for (at, entry) in together {
                bytes[(at - place) as usize..][..FAT_ENTRY].copy_from_slice(entry);
            }
            self.durably(&[Write { place, bytes }])?;
        }
        self.table.free(old.unwrap_or(0));
        self.durably(&self.table.writes(self.fat)?)
    }

    fn durably(&self, writes: &[Write]) -> io::Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        for Write { place, bytes } in writes {
            aligned::write(self.fat.disk(), *place, bytes, self.fat.granule())?;
        }
        self.fat.disk().sync()
    }
}

/// Finds a file in the folder of the credentials. Capital letters make no difference.
fn find_file<D: Disk>(
    fat: &Fat<'_, D>,
    folder: Option<u32>,
    file: &str,
) -> io::Result<Option<Item>> {
    let mut found = None;
    if folder.is_some() {
        folder::list(fat, folder, &mut |item| {
            if found.is_none() && item.name.eq_ignore_ascii_case(file) {
                found = Some(item);
            }
            Ok(())
        })?;
    }
    match found {
        Some(item) if item.is_folder => {
            Err(damaged(format!("{CREDENTIALS_FOLDER}/{file} is a folder and no file")))
        }
        found => Ok(found),
    }
}

/// Returns the entries of a file or folder: those of its long name, then the short one.
fn named<D: Disk>(
    fat: &Fat<'_, D>,
    dir: Option<u32>,
    name: &str,
    attributes: u8,
    cluster: u32,
    size: u32,
) -> io::Result<Vec<Entry>> {
    let mut taken = Vec::new();
    folder::list(fat, dir, &mut |item| {
        taken.push(item.short);
        Ok(())
    })?;
    let aliases = (0..).map(|salt| short_alias(name, salt));
    let short = aliases.into_iter().find(|short| !taken.contains(short)).unwrap_or_default();
    let mut entries = long_name_entries(name, &short);
    entries.push(short_entry(short, attributes, cluster, size));
    Ok(entries)
}

fn short_entry(short: [u8; 11], attributes: u8, cluster: u32, size: u32) -> Entry {
    let mut entry = [0; FAT_ENTRY];
    entry[..11].copy_from_slice(&short);
    entry[11] = attributes;
    for date in [16, 18, 24] {
        entry[date..date + 2].copy_from_slice(&FIRST_DAY.to_le_bytes());
    }
    point(&mut entry, cluster, size);
    entry
}

/// Gives a short entry its content.
fn point(entry: &mut Entry, cluster: u32, size: u32) {
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&size.to_le_bytes());
}
