//! The verb `cache`, and where the cache is.
//!
//! `host::cache` keeps the entries.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use bundler::host::cache::{Cache, Entry, LIMIT, folder};
use bundler::lock::Store;
use clap::Args;
use image_layout::Amount;

/// Arguments of `cache`.
#[derive(Args, Debug)]
pub(crate) struct CacheArguments {
    /// The folder [default: that of `build`]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Remove what was not used for the longest time, until this much is left: 5G, 500M, 0
    #[arg(long, value_name = "SIZE", value_parser = size)]
    trim: Option<u64>,
    /// Remove what was not used for this many days
    #[arg(long, value_name = "DAYS")]
    older: Option<u64>,
}

/// Shows the cache, or trims it.
pub(crate) fn cache(arguments: &CacheArguments) -> Result<()> {
    let CacheArguments { cache, trim, older } = arguments;
    let Some(dir) = cache.clone().or_else(folder) else {
        bail!("there is no home folder for a cache; name the folder with --cache");
    };
    let cache = Cache::open(&dir)?;
    if trim.is_some() || older.is_some() {
        let age = older.map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60)));
        let removed = cache.trim(trim.unwrap_or(u64::MAX), age);
        print(&removed);
        println!("removed {} of {} files", amount(&removed), removed.len());
    } else {
        print(&cache.entries());
    }
    let left = cache.entries();
    println!(
        "{}: {} in {} files, at most {}",
        dir.display(),
        amount(&left),
        left.len(),
        Amount(LIMIT)
    );
    let (bytes, packages) = Store::size(&dir);
    if packages > 0 {
        println!("{}: {packages} package files of locks, not trimmed", Amount(bytes));
    }
    Ok(())
}

fn print(entries: &[Entry]) {
    for entry in entries {
        let days = age(entry.used);
        println!(
            "{}  {:>10}  {days:>12}  {}",
            &entry.key[..12.min(entry.key.len())],
            Amount(entry.bytes).to_string(),
            entry.what
        );
    }
}

fn age(used: SystemTime) -> String {
    let seconds = used.elapsed().unwrap_or_default().as_secs();
    match seconds {
        0..120 => "just now".to_owned(),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn amount(entries: &[Entry]) -> Amount {
    Amount(entries.iter().map(|entry| entry.bytes).sum())
}

/// The options of verbs that use the cache.
#[derive(Args, Debug)]
pub(crate) struct Caching {
    /// Folder that keeps what was made, so that only what changed is made again [default:
    /// ~/.cache/daruma/build]
    #[arg(long, value_name = "DIR")]
    pub(super) cache: Option<PathBuf>,
    /// Make everything, and keep nothing
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
}

impl Caching {
    /// Opens the cache. Without a home folder there is none.
    ///
    /// # Errors
    /// The folder that a person named cannot be made.
    pub(crate) fn open(&self) -> Result<Option<Cache>> {
        if self.no_cache {
            return Ok(None);
        }
        if let Some(dir) = &self.cache {
            return Cache::open(dir).map(Some);
        }
        let Some(dir) = folder() else { return Ok(None) };
        match Cache::open(&dir) {
            Ok(cache) => Ok(Some(cache)),
            Err(error) => {
                eprintln!("warning: working without a cache: {error:#}");
                Ok(None)
            }
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (
            digits,
            match text.as_bytes()[text.len() - 1] {
                b'K' => 10,
                b'M' => 20,
                _ => 30,
            },
        ),
        None => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << unit));
    bytes.ok_or_else(|| "write bytes, or 500M, 5G".to_owned())
}
