//! The credentials on the device's EFI system partition, as the agent uses them.
//!
//! `grub-env` reads and writes them without mounting the partition. Whoever writes holds the
//! device's lock. A value never reaches a message.

use std::fmt::Display;

use grub_env::{CREDENTIALS_FOLDER, CredentialError, CredentialStore};
use image_layout::label;

use crate::device::disk::opener::{Access, AnyDisk};
use crate::device::machine::Device;
use crate::exit::{Exit, Failure};

/// The credentials of a device, opened for one command.
pub(crate) struct Credentials {
    store: CredentialStore<AnyDisk>,
    /// The folder and the partition, for messages
    place: String,
}

/// A credential as a person sees it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size_bytes: u32,
    /// True if systemd decrypts it. None: it cannot be read, and no boot takes it.
    pub encrypted: Option<bool>,
}

/// What the folder holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Provisioned {
    /// What the next boot takes.
    pub credentials: Vec<Credential>,
    /// One line for each file that no boot takes.
    pub refused: Vec<String>,
}

impl Credentials {
    /// Opens the partition.
    ///
    /// # Errors
    /// [`Exit::Credential`] when it cannot be read.
    pub(crate) fn open(device: &Device, access: Access) -> Result<Self, Failure> {
        let path = device.partition(label::ESP)?;
        let place = format!("{CREDENTIALS_FOLDER}/ on {}", path.display());
        match device.open(path, access).and_then(CredentialStore::open) {
            Ok(store) => Ok(Self { store, place }),
            Err(error) => Err(failure("opening", &place, &error)),
        }
    }

    /// Returns what the folder holds.
    pub(crate) fn list(&self) -> Result<Provisioned, Failure> {
        let listing = self.store.list().map_err(|error| failure("reading", &self.place, &error))?;
        let mut provisioned = Provisioned { refused: listing.refused, ..Provisioned::default() };
        for found in listing.credentials {
            let content = self.store.read(&found);
            if let Err(error) = &content {
                provisioned.refused.push(format!("{} cannot be read: {error}", found.name));
            }
            let encrypted = content.ok().map(|content| grub_env::is_encrypted(&content));
            let (name, size_bytes) = (found.name, found.size);
            provisioned.credentials.push(Credential { name, size_bytes, encrypted });
        }
        Ok(provisioned)
    }

    /// Adds or replaces a credential durably. Returns false if it was there already.
    pub(crate) fn set(&self, name: &str, content: &[u8]) -> Result<bool, Failure> {
        self.store.set(name, content).map_err(|error| self.failed("setting", name, &error))
    }

    /// Removes a credential durably. Returns false if there was none.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, Failure> {
        self.store.remove(name).map_err(|error| self.failed("removing", name, &error))
    }

    fn failed(&self, doing: &str, name: &str, error: &CredentialError) -> Failure {
        let what = match error {
            // This error names the credential itself.
            CredentialError::Bad(..) => self.place.clone(),
            _ => format!("{name} of {}", self.place),
        };
        failure(doing, &what, error)
    }
}

fn failure(doing: &str, what: &str, cause: &dyn Display) -> Failure {
    Failure::new(Exit::Credential, format!("{doing} {what}: {cause}"))
}
