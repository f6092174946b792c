//! Keeps what was built before: results, and the states of a root filesystem between its actions.
//!
//! `rootfs` lists everything that an entry depends on. The hash of that list is the entry's key.
//! This file knows nothing of recipes.
//!
//! An entry is two files: `KEY.content`, and `KEY.json`, which says what the content is, and its
//! SHA-256 sum. The time of `KEY.json` is when the entry was last used. This file is written last,
//! so an entry without it is not whole. A file that is being written is `KEY.….part`, and its
//! writer holds a lock on it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes that a cache may have after a build. The entries that were not used for the longest time
/// go first.
pub const LIMIT: u64 = 10_000_000_000;

/// The folder of the cache.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// What an entry says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// For people.
    pub what: String,
    /// What the reader of the content needs to know besides.
    #[serde(default)]
    pub note: String,
    /// Length of the content.
    pub bytes: u64,
    /// Of the content, in hexadecimal.
    pub sha256: String,
}

/// An entry that is whole. Nobody removes it as long as this value lives.
#[derive(Debug)]
pub struct Found {
    /// The content.
    pub path: PathBuf,
    /// What is said about it.
    pub about: About,
    _lock: File,
}

/// A file that is being written. Dropping it removes the file.
#[derive(Debug)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    key: String,
    lock: File,
}

/// An entry as `daruma-bundler cache` shows it.
#[derive(Debug)]
pub struct Entry {
    /// The name.
    pub key: String,
    /// For people.
    pub what: String,
    /// The content.
    pub path: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
}

impl Cache {
    /// Opens a folder, and makes it if it does not exist. Removes what a killed build has left.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(dir: &Path) -> Result<Self> {
        let doing = || format!("making the cache folder {}", dir.display());
        fs::create_dir_all(dir).with_context(doing)?;
        let cache = Self { dir: dir.to_owned() };
        for path in cache.files("part") {
            // A living writer holds the lock.
            if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = fs::remove_file(path);
            }
        }
        Ok(cache)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the entry of this key, if it is whole. A damaged one is removed, and a person is
    /// told.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<Found> {
        let path = self.content(key);
        let lock = File::open(&path).ok()?;
        lock.lock_shared().ok()?;
        let about = match self.check(key, &path) {
            Ok(about) => about,
            Err(why) => {
                eprintln!(
                    "warning: the cache has a damaged file, which is made again: {}: {why}",
                    path.display()
                );
                self.remove(key);
                return None;
            }
        };
        // Another process may have removed the entry before the lock was there.
        path.exists().then_some(())?;
        let now = SystemTime::now();
        let _ = File::options()
            .append(true)
            .open(self.description(key))
            .and_then(|file| file.set_modified(now));
        Some(Found { path, about, _lock: lock })
    }

    fn check(&self, key: &str, path: &Path) -> Result<About, String> {
        let text = fs::read(self.description(key)).map_err(|_| "it was not finished".to_owned())?;
        let about: About = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        let (bytes, sum) = sum(path).map_err(|e| e.to_string())?;
        if bytes != about.bytes {
            return Err(format!("it has {bytes} bytes and should have {}", about.bytes));
        }
        if sum != about.sha256 {
            return Err("its SHA-256 sum is wrong".to_owned());
        }
        Ok(about)
    }

    /// Begins an entry. The caller writes the file, and calls [`Cache::keep`] when it is whole.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn begin(&self, key: &str) -> io::Result<Part> {
        let file = tempfile::Builder::new()
            .prefix(&format!("{key}."))
            .suffix(".part")
            .tempfile_in(&self.dir)?;
        file.as_file().lock()?;
        let (lock, path) = file.keep().map_err(|e| e.error)?;
        Ok(Part { path, key: key.to_owned(), lock })
    }

    /// Makes a written file an entry, unless another build was faster.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep(&self, part: Part, what: &str, note: &str) -> io::Result<()> {
        let (bytes, sha256) = sum(&part.path)?;
        let about = About { what: what.to_owned(), note: note.to_owned(), bytes, sha256 };
        let mut text = serde_json::to_vec_pretty(&about)?;
        text.push(b'\n');
        let described = self.begin(&part.key)?;
        fs::write(&described.path, text)?;
        // The two files of an entry come from one build.
        let lock = File::create(self.dir.join("lock"))?;
        lock.lock()?;
        if self.description(&part.key).exists() {
            return Ok(());
        }
        fs::rename(&part.path, self.content(&part.key))?;
        fs::rename(&described.path, self.description(&part.key))
    }

    /// Makes a written file an entry, in place of the one that has its key.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn replace(&self, part: Part, what: &str) -> io::Result<()> {
        self.remove(&part.key);
        self.keep(part, what, "")
    }

    /// Keeps a file as an entry: as a hard link where that is possible, else as a copy.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn add(&self, key: &str, file: &Path, what: &str) -> io::Result<()> {
        let lock = File::open(file)?;
        lock.lock()?;
        let path = self.dir.join(format!("{key}.{}.part", std::process::id()));
        let part = match fs::hard_link(file, &path) {
            Ok(()) => Part { path, key: key.to_owned(), lock },
            Err(_) => {
                let part = self.begin(key)?;
                fs::copy(file, &part.path)?;
                part
            }
        };
        self.keep(part, what, "")
    }

    /// Returns all whole entries, the one that was used last first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        // Earlier versions of this program kept tars, without a description.
        let files = self.files("content").chain(self.files("tar"));
        let mut entries: Vec<Entry> = files.filter_map(|path| self.entry(&path)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        entries
    }

    fn entry(&self, path: &Path) -> Option<Entry> {
        let key = path.file_stem()?.to_str()?.to_owned();
        let content = path.metadata().ok()?;
        let description = self.description(&key);
        let about = fs::read(&description).ok();
        let about = about.and_then(|text| serde_json::from_slice::<About>(&text).ok());
        let what = about.map_or_else(|| "not whole".to_owned(), |about| about.what);
        let used = description.metadata().and_then(|file| file.modified());
        let used = used.or_else(|_| content.modified()).ok()?;
        Some(Entry { key, what, path: path.to_owned(), bytes: content.len(), used })
    }

    /// Removes what was not used for the longest time, until at most `bytes` are left and nothing
    /// is older than `age`. What a running build uses stays. Returns what was removed.
    #[must_use]
    pub fn trim(&self, bytes: u64, age: Option<Duration>) -> Vec<Entry> {
        let (mut left, mut is_full) = (0, false);
        let mut removed = Vec::new();
        for entry in self.entries() {
            let is_old = age.is_some_and(|age| entry.used.elapsed().is_ok_and(|old| old > age));
            is_full |= left + entry.bytes > bytes;
            let is_unused = || File::open(&entry.path).is_ok_and(|file| file.try_lock().is_ok());
            if (is_full || is_old) && is_unused() {
                self.remove(&entry.key);
                let _ = fs::remove_file(&entry.path);
                removed.push(entry);
            } else {
                left += entry.bytes;
            }
        }
        removed
    }

    fn remove(&self, key: &str) {
        let _ = fs::remove_file(self.description(key));
        let _ = fs::remove_file(self.content(key));
    }

    fn files(&self, ending: &'static str) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(move |path| path.extension().is_some_and(|extension| extension == ending))
    }

    fn content(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.content"))
    }

    fn description(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }
}

impl Found {
    /// Puts the content at `out`, as a hard link where that is possible.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn take(&self, out: &Path) -> Result<()> {
        let writing = || format!("writing {}", out.display());
        let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = tempfile::Builder::new().prefix(".daruma-").suffix(".part").tempdir_in(dir);
        let part = part.with_context(writing)?;
        let file = part.path().join("content");
        if fs::hard_link(&self.path, &file).is_err() {
            fs::copy(&self.path, &file).with_context(writing)?;
        }
        fs::rename(&file, out).with_context(writing)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.lock.unlock();
    }
}

/// The folder unless a person names one: in `$DARUMA_CACHE`, else in `$XDG_CACHE_HOME` or
/// `~/.cache`. `None`: there is no home folder.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let daruma = set("DARUMA_CACHE").map(PathBuf::from).or_else(|| {
        let home = || set("HOME").map(|home| Path::new(&home).join(".cache"));
        set("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).map(|dir| dir.join("daruma"))
    });
    daruma.map(|dir| dir.join("build"))
}

/// Returns the hash of named ingredients. The hash covers their lengths, so no two lists look
/// alike.
#[must_use]
pub fn key(ingredients: &[(String, Vec<u8>)]) -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in ingredients {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hex(&hash.finalize())
}

/// Returns a hash of this program and of the libraries that it runs with: two programs of the same
/// hash do the same.
///
/// # Errors
/// A file cannot be read.
pub fn this_program() -> io::Result<String> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mapped = maps.lines().filter_map(|line| line.split_once('/')).map(|(_, path)| path);
    let libraries: BTreeSet<&str> = mapped.filter(|path| path.contains(".so")).collect();
    let mut list = vec![("program".to_owned(), sum(Path::new("/proc/self/exe"))?.1.into_bytes())];
    for path in libraries {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        list.push((name, sum(Path::new(&format!("/{path}")))?.1.into_bytes()));
    }
    Ok(key(&list))
}

/// Returns the length of a file and its SHA-256 sum.
///
/// # Errors
/// The file cannot be read.
pub fn sum(path: &Path) -> io::Result<(u64, String)> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        let got = file.read(&mut piece)?;
        if got == 0 {
            return Ok((bytes, hex(&hash.finalize())));
        }
        hash.update(&piece[..got]);
        bytes += got as u64;
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
