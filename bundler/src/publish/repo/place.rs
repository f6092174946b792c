//! Writes files so that a file appears complete under its name, or not at all.
//!
//! The callers bring the content. A server may read the folder at any moment.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes a hidden file, syncs it, and gives it its name. A server never sees half of the file.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let partial = partial(path);
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        take_place(&partial, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Returns the name of the unfinished file. The name is hidden, so `serve` does not show the file.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

/// Gives a complete file its name, and syncs the folder.
pub(crate) fn take_place(partial: &Path, path: &Path) -> std::io::Result<()> {
    fs::rename(partial, path)?;
    File::open(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()
}
