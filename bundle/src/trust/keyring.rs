//! The public keys that a device trusts, and how many of them must have signed.
//!
//! `verdict` counts the signatures. A key that comes twice counts once.

use std::collections::BTreeMap;
use std::path::Path;

use crate::value::limits;
use crate::{BundleError, KeyId, PublicKey};

/// A set of public keys and a threshold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyring {
    keys: BTreeMap<KeyId, PublicKey>,
    threshold: usize,
}

impl Keyring {
    /// Reads a folder. Each `*.pem` is one public key. The file `threshold` says in decimal how
    /// many of the keys must have signed; without that file it is 1. Other files are not looked at.
    ///
    /// # Errors
    /// The folder or a file cannot be read, a `*.pem` is no public key, or the threshold cannot be
    /// met.
    pub fn load(dir: &Path) -> Result<Self, BundleError> {
        let refuse = |path: &Path, why: String| BundleError::Key { path: path.to_owned(), why };
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(BundleError::file("read", dir))? {
            let path = entry.map_err(BundleError::file("read", dir))?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                let pem =
                    std::fs::read_to_string(&path).map_err(BundleError::file("read", &path))?;
                keys.push(PublicKey::from_pem(&pem).map_err(|e| refuse(&path, e.to_string()))?);
            }
        }
        let path = dir.join("threshold");
        let threshold = match std::fs::read_to_string(&path) {
            Ok(text) => text
                .trim()
                .parse()
                .map_err(|_| refuse(&path, format!("{:?} is no number", text.trim())))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 1,
            Err(e) => return Err(BundleError::file("read", &path)(e)),
        };
        Self::new(keys, threshold).map_err(|e| refuse(dir, e.to_string()))
    }

    /// Returns a keyring of `keys`. At least `threshold` of them must have signed. A key that comes
    /// twice counts once.
    ///
    /// # Errors
    /// There is no key, there are more than [`limits::KEYS`], two different keys have one id, or
    /// the threshold cannot be met.
    pub fn new(
        keys: impl IntoIterator<Item = PublicKey>,
        threshold: usize,
    ) -> Result<Self, BundleError> {
        let mut ring = BTreeMap::new();
        for key in keys {
            let id = key.id();
            if ring.insert(id, key.clone()).is_some_and(|other| other != key) {
                return Err(BundleError::Input(format!(
                    "two different keys have the id {id}; make one anew"
                )));
            }
        }
        if ring.is_empty() || ring.len() > limits::KEYS {
            return Err(BundleError::Input(format!(
                "a keyring holds 1 to {} public keys (*.pem)",
                limits::KEYS
            )));
        }
        if threshold == 0 || threshold > ring.len() {
            let count = ring.len();
            return Err(BundleError::Input(format!(
                "the threshold is {threshold} and there are {count} keys; make it 1 to {count}"
            )));
        }
        Ok(Self { keys: ring, threshold })
    }

    /// Returns how many keys must have signed.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Returns the keys, in the order of their ids.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    pub(crate) fn get(&self, id: KeyId) -> Option<&PublicKey> {
        self.keys.get(&id)
    }
}
