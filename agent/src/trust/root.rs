//! Loads the root document of the image, and the newer ones that follow it.
//!
//! `bundle` verifies each step, and `kept` stores the documents of channels. The image's document
//! is the anchor: every load verifies the chain from it.

use std::fs;
use std::io;
use std::path::Path;

#[cfg(feature = "pull")]
use bundle::channel::ChannelError;
use bundle::channel::Root;
use bundle::limits;

use crate::console::warn;
use crate::device::Device;
use crate::exit::{Exit, Failure};
#[cfg(feature = "pull")]
use crate::trust::kept::keep;
use crate::trust::kept::{FOLDER, read};

/// The root document in the image.
pub(crate) const ANCHOR: &str = "/etc/daruma/root.json";
/// Most entries of the folder that are read.
const ENTRIES: usize = 4096;

/// The root document that counts now, with all its keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Trust {
    pub(crate) root: Root,
    /// The version in the image.
    #[cfg(feature = "pull")]
    pub(crate) anchor: u64,
}

impl Trust {
    /// Loads the root document. `None`: the image has none, and the keyring counts.
    ///
    /// # Errors
    /// [`Exit::Config`]: the image's document cannot be used. The keyring would undo a revocation,
    /// so it does not take its place.
    pub(crate) fn load(device: &Device) -> Result<Option<Self>, Failure> {
        let path = device.path(ANCHOR);
        let failure = |cause: &dyn std::fmt::Display| {
            let line = format!("reading the root document {}: {cause}", path.display());
            Failure::new(Exit::Config, line)
        };
        let bytes = match read(&path, limits::ROOT) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failure(&error)),
        };
        let mut root = Root::anchor(&bytes).map_err(|error| failure(&error))?;
        #[cfg(feature = "pull")]
        let anchor = root.version;
        for version in kept_versions(&device.path(FOLDER)) {
            if version <= root.version {
                continue;
            }
            let path = device.path(FOLDER).join(file(version));
            match successor(&root, &path, version) {
                Ok(next) => root = next,
                Err(cause) => {
                    warn(format_args!(
                        "reading the root document {}: {cause}; the file does not count, and the \
                            channel brings it again",
                        path.display()
                    ));
                    let _ = fs::remove_file(&path);
                }
            }
        }
        Ok(Some(Self {
            root,
            #[cfg(feature = "pull")]
            anchor,
        }))
    }

    /// Moves on to the next version, if it follows, and keeps it.
    ///
    /// # Errors
    /// Why the document does not follow; then nothing is changed. A document that cannot be kept is
    /// only a warning: the next contact brings it again.
    #[cfg(feature = "pull")]
    pub(crate) fn advance(&mut self, device: &Device, bytes: &[u8]) -> Result<(), ChannelError> {
        let next = self.root.successor(bytes)?;
        if next.version != self.root.version + 1 {
            return Err(ChannelError::RootOrder { trusted: self.root.version, got: next.version });
        }
        keep(device, &file(next.version), bytes);
        self.root = next;
        Ok(())
    }

    /// Keeps the image's root document as well. After a fall-back, the older system must not forget
    /// what this one has revoked.
    #[cfg(feature = "pull")]
    pub(crate) fn keep_anchor(&self, device: &Device) {
        let path = device.path(FOLDER).join(file(self.anchor));
        if self.anchor > 1
            && !path.exists()
            && let Ok(bytes) = read(&device.path(ANCHOR), limits::ROOT)
        {
            keep(device, &file(self.anchor), &bytes);
        }
    }
}

fn file(version: u64) -> String {
    format!("{version}.root.json")
}

/// Returns the versions in the folder, ascending.
fn kept_versions(folder: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let version = |entry: io::Result<fs::DirEntry>| -> Option<u64> {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let version = name.strip_suffix(".root.json")?.parse().ok()?;
        (file(version) == name).then_some(version)
    };
    let mut versions: Vec<u64> = entries.take(ENTRIES).filter_map(version).collect();
    versions.sort_unstable();
    versions
}

fn successor(root: &Root, path: &Path, version: u64) -> Result<Root, String> {
    let bytes = read(path, limits::ROOT).map_err(|error| error.to_string())?;
    let next = root.successor(&bytes).map_err(|error| error.to_string())?;
    if next.version == version {
        Ok(next)
    } else {
        Err(format!("the file holds version {}", next.version))
    }
}
