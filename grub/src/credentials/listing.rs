//! Lists and reads the credentials of an EFI system partition.
//!
//! `folder` reads the FAT, and `name` has the limits. A partition is not trusted: whatever is wrong
//! with a credential, the others are still there.

use std::io;

use image_layout::Disk;

use crate::credentials::name::{
    BadCredential, CREDENTIAL_ENDING, CREDENTIALS_FOLDER, CredentialRoom, check_credential_name,
};
use crate::store::aligned;
use crate::store::fat::{Fat, damaged};
use crate::store::folder::{self, Item};

/// Files about which something is said, one by one. A hostile partition has thousands.
const MOST_REFUSED: usize = 8;

/// The credentials on an EFI system partition that nobody has mounted for writing.
#[derive(Debug)]
pub struct CredentialStore<D> {
    pub(crate) esp: D,
    pub(crate) sector: u32,
}

/// A credential on the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredCredential {
    /// Its name, without the ending of the file.
    pub name: String,
    /// Bytes
    pub size: u32,
    pub(crate) item: Item,
}

/// What the folder holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CredentialListing {
    /// The credentials that a boot takes.
    pub credentials: Vec<StoredCredential>,
    /// One line for each file that no boot takes, and why. The lines have no content of files.
    pub refused: Vec<String>,
}

impl<D: Disk> CredentialStore<D> {
    /// Opens the partition.
    ///
    /// # Errors
    /// The partition cannot be read.
    pub fn open(esp: D) -> io::Result<Self> {
        let sector = aligned::sector_size(&esp)?;
        Ok(Self { esp, sector })
    }

    /// Returns the partition.
    pub fn into_disk(self) -> D {
        self.esp
    }

    /// Returns what the folder holds. Without the folder it holds nothing.
    ///
    /// # Errors
    /// The FAT cannot be followed to the end of the folder.
    pub fn list(&self) -> io::Result<CredentialListing> {
        let fat = self.fat()?;
        let mut listing = CredentialListing::default();
        let Some(found) = find_folder(&fat)? else { return Ok(listing) };
        let (mut room, mut others) = (CredentialRoom::default(), 0);
        folder::list(&fat, Some(found.cluster), &mut |item| {
            let Some(name) = credential_name(&item.name) else { return Ok(()) };
            let name = name.to_owned();
            match judge(&name, &item, &listing, &mut room) {
                Ok(()) => {
                    let size = item.size;
                    listing.credentials.push(StoredCredential { name, size, item });
                }
                Err(why) if listing.refused.len() < MOST_REFUSED => {
                    listing.refused.push(format!("{} {why}", name.escape_default()));
                }
                Err(_) => others += 1,
            }
            Ok(())
        })?;
        if others > 0 {
            listing.refused.push(format!("and {others} more are refused"));
        }
        Ok(listing)
    }

    /// Returns the content of a credential.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn read(&self, credential: &StoredCredential) -> io::Result<Vec<u8>> {
        self.fat()?.content(credential.item.cluster, credential.size)
    }

    pub(crate) fn fat(&self) -> io::Result<Fat<'_, D>> {
        Fat::open(&self.esp, self.sector)
    }
}

/// Returns the folder of the credentials, if there is one.
pub(crate) fn find_folder<D: Disk>(fat: &Fat<'_, D>) -> io::Result<Option<Item>> {
    let mut found = None;
    folder::list(fat, None, &mut |item| {
        if found.is_none() && item.name.eq_ignore_ascii_case(CREDENTIALS_FOLDER) {
            found = Some(item);
        }
        Ok(())
    })?;
    match found {
        Some(item) if !item.is_folder => {
            Err(damaged(format!("{CREDENTIALS_FOLDER} is a file and no folder")))
        }
        found => Ok(found),
    }
}

/// Returns the name of the credential that a file holds. None: the file is no credential.
pub(crate) fn credential_name(file: &str) -> Option<&str> {
    let at = file.len().checked_sub(CREDENTIAL_ENDING.len())?;
    let (name, ending) = file.split_at_checked(at)?;
    ending.eq_ignore_ascii_case(CREDENTIAL_ENDING).then_some(name)
}

fn judge(
    name: &str,
    item: &Item,
    listing: &CredentialListing,
    room: &mut CredentialRoom,
) -> Result<(), String> {
    if item.is_folder {
        return Err("is a folder and no file".to_owned());
    }
    let is_same = |other: &StoredCredential| other.name.eq_ignore_ascii_case(name);
    check_credential_name(name)
        .and_then(|()| {
            if listing.credentials.iter().any(is_same) { Err(BadCredential::Case) } else { Ok(()) }
        })
        .and_then(|()| room.take(item.size as usize))
        .map_err(|why| why.to_string())
}
