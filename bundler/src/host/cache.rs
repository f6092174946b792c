//! Keeps root filesystems that were built before.
//!
//! `rootfs` lists everything that a build depends on. The name of a kept file is the hash of that
//! list.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// A folder of tars named `KEY.tar`.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens a folder, and makes it if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)
            .with_context(|| format!("making the cache folder {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Returns the hash of named ingredients. The hash covers their lengths, so no two lists look
    /// alike.
    #[must_use]
    pub fn key(&self, ingredients: &[(String, Vec<u8>)]) -> String {
        let mut hash = Sha256::new();
        for (name, bytes) in ingredients {
            for part in [name.as_bytes(), bytes] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hex(&hash.finalize())
    }

    /// Returns the tar of this key, if it was built before.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<PathBuf> {
        let path = self.path(key);
        path.exists().then_some(path)
    }

    /// Builds with `make`, and keeps the result only if `make` succeeds.
    ///
    /// # Errors
    /// Those of `make`, or the folder cannot be written.
    pub fn add(&self, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        // Two builds at once write two files. The last rename wins.
        let part = self.dir.join(format!("{key}.{}.part", std::process::id()));
        make(&part)?;
        fs::rename(&part, self.path(key)).with_context(|| format!("renaming {}", part.display()))
    }

    /// Puts the tar of this key at `out`, as a hard link where that is possible.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn take(&self, key: &str, out: &Path) -> Result<()> {
        let part = out.with_extension("part");
        let _ = fs::remove_file(&part);
        if fs::hard_link(self.path(key), &part).is_err() {
            fs::copy(self.path(key), &part)
                .with_context(|| format!("writing {}", part.display()))?;
        }
        fs::rename(&part, out).with_context(|| format!("writing {}", out.display()))?;
        // If both names belong to one file, a rename does nothing and leaves both names.
        let _ = fs::remove_file(&part);
        Ok(())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.tar"))
    }
}

/// Returns lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
