//! What a device is made to trust: a folder of public keys, or a root document in it.
//!
//! `device` puts them into the image. If there is a root document, its release keys count and the
//! folder's do not.

use std::path::Path;

use anyhow::{Context, Result};
use bundle::Keyring;
use bundle::channel::Root;

/// The newest root document, in a repository and in a folder of keys.
pub const ROOT: &str = "root.json";

/// Keys that may sign bundles, and where they come from.
#[derive(Debug)]
pub struct Trusted {
    /// The keys.
    pub keyring: Keyring,
    /// The file of the root document whose release role they are.
    pub root: Option<Vec<u8>>,
}

impl Trusted {
    /// Reads a keyring folder. If there is a `root.json` in it, the keys of its release role count
    /// and those in the folder do not, as on a device.
    ///
    /// # Errors
    /// A file cannot be read or is invalid.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(ROOT);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let root =
                    Root::anchor(&bytes).with_context(|| format!("reading {}", path.display()))?;
                Ok(Self { keyring: root.roles.release, root: Some(bytes) })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { keyring: Keyring::load(dir)?, root: None })
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}
