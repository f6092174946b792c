//! Opens a repository's folder and reads the documents in it.
//!
//! `drafts` and `publish` change the documents. The folder is locked while it is open. Without the
//! lock, two publishers could give one serial to two channels.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bundle::ChannelName;
use bundle::channel::{Channel, Root, Timestamp};

use crate::bundling::system::device::trusted::ROOT;

/// The root document that is being made and signed. Devices do not read it.
pub const DRAFT: &str = "next.root.json";
/// The folder of bundles and deltas.
pub(crate) const BUNDLES: &str = "bundles";

/// A repository's folder, locked. Without the lock, two publishers could give one serial to two
/// channels.
#[derive(Debug)]
pub struct Repository {
    dir: PathBuf,
    _lock: File,
}

impl Repository {
    /// Opens the folder and waits for anybody else who is changing it.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written.
    pub fn open(dir: &Path) -> Result<Self> {
        let opening = || format!("opening the repository {}", dir.display());
        let lock = File::create(dir.join(".daruma.lock")).with_context(opening)?;
        lock.lock().with_context(opening)?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Opens the folder, and makes it if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)
            .with_context(|| format!("making the repository {}", dir.display()))?;
        Self::open(dir)
    }

    /// Returns the path of a file of the repository.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the root document that devices will follow.
    ///
    /// # Errors
    /// There is no root document, or it is not whole.
    pub fn root(&self) -> Result<Root> {
        let path = self.path(ROOT);
        let Some(bytes) = self.read(ROOT)? else {
            bail!(
                "the repository {} has no {ROOT}; make one with `daruma-bundler root new`",
                self.dir.display()
            );
        };
        Root::anchor(&bytes).with_context(|| format!("reading {}", path.display()))
    }

    /// Returns a published channel, opened as devices open it.
    ///
    /// # Errors
    /// The channel does not exist, or devices would refuse it.
    pub fn channel(&self, name: &ChannelName) -> Result<Channel> {
        let path = self.channel_path(name);
        let Some(bytes) = self.read(&format!("{name}.channel.json"))? else {
            bail!("{} is missing; publish a bundle first", path.display());
        };
        Channel::open(&bytes, name, &self.root()?)
            .with_context(|| format!("reading {}", path.display()))
    }

    pub(crate) fn channel_path(&self, name: &ChannelName) -> PathBuf {
        self.path(&format!("{name}.channel.json"))
    }

    /// Returns the bytes of a file. `None`: the file does not exist.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
}

/// Returns the time of this machine's clock. A channel's dates come from it.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_seconds(
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()),
    )
}

/// Returns the seconds of that many days.
pub(crate) fn days(days: u32) -> u64 {
    u64::from(days) * 86_400
}
