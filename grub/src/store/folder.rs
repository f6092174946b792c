//! Lists a folder of a FAT, with long names.
//!
//! `fat` follows its clusters, and `credentials` says what the names mean. A folder is read in one
//! pass and is never longer than a folder can be. The caller keeps what it wants of it.

use std::io;

use image_layout::{Disk, FAT_ENTRY, LongName};

use crate::store::aligned;
use crate::store::fat::{ATTR_DIRECTORY, ATTR_VOLUME_ID, Fat};

/// First byte of an entry that was removed.
pub(crate) const REMOVED: u8 = 0xe5;

/// A file or folder in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Item {
    /// The long name, or else the short one.
    pub(crate) name: String,
    pub(crate) short: [u8; 11],
    pub(crate) is_folder: bool,
    /// Its first cluster; 0 for an empty file
    pub(crate) cluster: u32,
    /// Bytes
    pub(crate) size: u32,
    /// Places on the partition of its entries: those of the long name, then the short one.
    pub(crate) places: Vec<u64>,
}

impl Item {
    /// Returns the place of the short entry, which makes the file what it is.
    pub(crate) fn place(&self) -> u64 {
        self.places.last().copied().unwrap_or_default()
    }
}

/// Shows each file and folder in a folder (`None` is the root) but `.` and `..`.
///
/// # Errors
/// The folder cannot be read to its end, or those of `see`.
pub(crate) fn list<D: Disk>(
    fat: &Fat<'_, D>,
    dir: Option<u32>,
    see: &mut dyn FnMut(Item) -> io::Result<()>,
) -> io::Result<()> {
    let mut long = LongName::default();
    let mut before = Vec::new();
    for (place, entry) in entries(fat, dir)? {
        if entry[0] == 0 {
            break;
        }
        if entry[0] != REMOVED && long.take(&entry) {
            before.push(place);
            continue;
        }
        let mut short = [0; 11];
        short.copy_from_slice(&entry[..11]);
        let found = long.end(&short);
        let parts = std::mem::take(&mut before);
        if entry[0] == REMOVED || entry[11] & ATTR_VOLUME_ID != 0 || entry[0] == b'.' {
            continue;
        }
        let mut places = found
            .as_ref()
            .map_or(&[][..], |(_, count)| &parts[parts.len().saturating_sub(*count)..])
            .to_vec();
        places.push(place);
        see(Item {
            name: found.map_or_else(|| short_text(&short), |(name, _)| name),
            short,
            is_folder: entry[11] & ATTR_DIRECTORY != 0,
            cluster: fat.first_cluster(&entry),
            size: u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]),
            places,
        })?;
    }
    Ok(())
}

/// Returns every entry of a folder and its place, also those behind its end.
pub(crate) fn entries<D: Disk>(
    fat: &Fat<'_, D>,
    dir: Option<u32>,
) -> io::Result<impl Iterator<Item = (u64, [u8; FAT_ENTRY])>> {
    let mut bytes = Vec::new();
    for extent in fat.folder(dir)? {
        let read = aligned::read(fat.disk(), extent.offset, extent.len, fat.granule())?;
        bytes.extend((extent.offset..).step_by(FAT_ENTRY).zip(read.as_chunks().0.to_vec()));
    }
    Ok(bytes.into_iter())
}

/// Returns a short name as a person writes it.
fn short_text(short: &[u8; 11]) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_ascii_lowercase();
    match (part(&short[..8]), part(&short[8..])) {
        (base, ending) if ending.is_empty() => base,
        (base, ending) => format!("{base}.{ending}"),
    }
}
