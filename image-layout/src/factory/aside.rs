//! Writes a result under a temporary name, so that it appears under its own name whole or not at
//! all.
//!
//! The callers build the content. A result that is given up is removed with its folder.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::ImageError;

/// A folder next to the result, on the same filesystem. The folder goes away with this value.
pub(crate) struct Aside {
    out: PathBuf,
    folder: TempDir,
}

impl Aside {
    /// Makes the folder. Refuses an `out` that is not a plain file: a rename over `/dev/sda` would
    /// replace the device node and write no disk.
    pub(crate) fn new(out: &Path) -> Result<Self, ImageError> {
        if fs::symlink_metadata(out).is_ok_and(|metadata| !metadata.is_file()) {
            let source = io::Error::other(
                "the path exists and is not a plain file; write the image to a file, then copy \
                    that file",
            );
            return Err(ImageError::Io { doing: "write the image", path: out.to_owned(), source });
        }
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut prefix = OsString::from(".");
        prefix.push(out.file_name().unwrap_or_default());
        prefix.push(".");
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".part")
            .tempdir_in(parent)
            .map_err(ImageError::io("write in", parent))?;
        Ok(Self { out: out.to_owned(), folder })
    }

    /// Returns a path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the file `name` durable and gives it the name of the result.
    pub(crate) fn publish(self, name: &str) -> Result<(), ImageError> {
        let built = self.path(name);
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        sync(&built).map_err(ImageError::io("write", &self.out))?;
        fs::rename(&built, &self.out).map_err(ImageError::io("write", &self.out))?;
        let parent = self.folder.path().parent().unwrap_or(Path::new("."));
        sync(parent).map_err(ImageError::io("write", &self.out))
    }
}
