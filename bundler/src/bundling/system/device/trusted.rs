//! Reads what a device will trust: a folder of public keys, or a root document in that folder.
//!
//! `device` puts the keys into the image. If there is a root document, its release keys count and
//! the keys of the folder do not.

use std::path::Path;

use anyhow::{Context, Result};
use bundle::Keyring;
use bundle::channel::Root;

/// The file name of the newest root document, in a repository and in a folder of keys.
pub const ROOT: &str = "root.json";

/// The keys that may sign bundles, and their source.
#[derive(Debug)]
pub struct Trusted {
    /// The keys.
    pub keyring: Keyring,
    /// The file of the root document, if the keys are those of its release role.
    pub root: Option<Vec<u8>>,
}

impl Trusted {
    /// Reads a folder of keys. If it holds a `root.json`, the keys of its release role count and
    /// the other keys in the folder do not. A device does the same.
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
