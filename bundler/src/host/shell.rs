//! Words for a shell of the build host.
//!
//! `bundling` writes texts that sh reads.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Quotes a word for sh.
///
/// # Errors
/// The word holds a NUL byte.
pub fn quote(word: &str) -> Result<String> {
    if word.contains('\0') {
        bail!("a NUL byte in {word:?}");
    }
    Ok(format!("'{}'", word.replace('\'', "'\\''")))
}

/// Quotes a path for sh.
///
/// # Errors
/// The path is not UTF-8.
pub fn quote_path(path: &Path) -> Result<String> {
    quote(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?)
}
