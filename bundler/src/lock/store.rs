//! Package files, each under the SHA-256 sum of its content: `packages/SUM.deb` of the cache.
//!
//! A lock names sums, so a file of this folder serves every recipe and needs no network.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::host::{cache, tool};
use crate::lock::file::{Origin, Package, sum};
use crate::lock::{Lock, LockError};

/// The folder of package files.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the folder in a cache, and makes it if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(cache: &Path) -> Result<Self> {
        let dir = std::path::absolute(cache.join("packages"))
            .with_context(|| format!("finding {}", cache.display()))?;
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Returns the cache folder of this user, that of `build`.
    ///
    /// # Errors
    /// The environment names no home folder.
    pub fn default_cache() -> Result<PathBuf> {
        cache::folder().context("HOME is not set; name a folder with --cache")
    }

    /// Returns the bytes and the number of the package files in a cache.
    #[must_use]
    pub fn size(cache: &Path) -> (u64, usize) {
        let files = fs::read_dir(cache.join("packages")).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .fold((0, 0), |(bytes, count), file| (bytes + file.len(), count + 1))
    }

    /// Returns the place of the file with this sum.
    #[must_use]
    pub fn path(&self, sha256: &str) -> PathBuf {
        self.dir.join(format!("{sha256}.deb"))
    }

    /// Keeps a file.
    ///
    /// # Errors
    /// The file cannot be read or kept.
    pub fn keep(&self, file: &Path) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        self.put(&sum(&bytes), &bytes)
    }

    /// Provides every package file of a lock: from the folder, or from the first archive of
    /// `addresses` that has the right one. `addresses` gives the archives of a suite.
    ///
    /// # Errors
    /// [`LockError`] names the first package that is not to be had, and what to do. Or the folder
    /// cannot be written.
    pub fn provide(
        &self,
        lock: &Lock,
        path: &Path,
        addresses: impl Fn(&str) -> Vec<String>,
    ) -> Result<()> {
        for package in &lock.packages {
            let Some(origin) = &package.origin else { continue };
            if self.holds(&origin.sha256)? {
                continue;
            }
            let mut why = "no archive of the recipe has this suite".to_owned();
            let mut got = false;
            for address in addresses(&origin.suite) {
                match self.fetch(&address, origin)? {
                    Ok(()) => {
                        got = true;
                        break;
                    }
                    Err(reason) => why = reason,
                }
            }
            if !got {
                return Err(self.gone(package, origin, path, &why).into());
            }
        }
        Ok(())
    }

    fn gone(&self, package: &Package, origin: &Origin, path: &Path, why: &str) -> LockError {
        let Package { name, version, architecture, .. } = package;
        LockError(format!(
            "{}: the package {name} {version} ({architecture}) is gone: {why}; put its file to {}, \
                or run `build --lock` to renew the lock",
            path.display(),
            self.path(&origin.sha256).display()
        ))
    }

    /// Returns whether the file is there and whole. A damaged file is removed.
    fn holds(&self, sha256: &str) -> Result<bool> {
        let path = self.path(sha256);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            bytes => bytes.with_context(|| format!("reading {}", path.display()))?,
        };
        if sum(&bytes) == sha256 {
            return Ok(true);
        }
        eprintln!("warning: {} is damaged; it is fetched again", path.display());
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        Ok(false)
    }

    /// Fetches a file. The inner error says why an archive does not have it.
    fn fetch(&self, address: &str, origin: &Origin) -> Result<Result<(), String>> {
        let Origin { file, sha256, .. } = origin;
        let url = format!("{address}/{file}");
        let dir = tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(&self.dir)
            .with_context(|| format!("making a folder in {}", self.dir.display()))?;
        let part = dir.path().join("part.deb");
        let mut helper = tool::command("/usr/lib/apt/apt-helper");
        helper.args(["-oAPT::Sandbox::User=root", "download-file", &url]).arg(&part);
        if let Err(error) = tool::run(&mut helper) {
            // The last line says only that it failed.
            let mut lines = error.0.split(" | ");
            let reason =
                lines.find_map(|line| line.split_once("Failed to fetch ")?.1.split_once(' '));
            let reason = reason.map_or(&*error.0, |(_, reason)| reason.trim());
            return Ok(Err(format!("{url}: {reason}")));
        }
        let bytes = fs::read(&part).with_context(|| format!("reading {}", part.display()))?;
        let found = sum(&bytes);
        if found != *sha256 {
            return Ok(Err(format!("{url} has the SHA-256 sum {found}, and not {sha256}")));
        }
        self.put(sha256, &bytes).map(Ok)
    }

    fn put(&self, sha256: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(sha256);
        if path.exists() {
            return Ok(());
        }
        let doing = || format!("writing {}", path.display());
        let file = tempfile::NamedTempFile::new_in(&self.dir).with_context(doing)?;
        fs::write(file.path(), bytes).with_context(doing)?;
        file.persist(&path).map(drop).with_context(doing)
    }
}
