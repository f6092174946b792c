//! A file that is written beside its place and then renamed into it.
//!
//! The callers write the content. A file that is given up is removed.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::BundleError;

/// A new file `.NAME.partial`. Dropping it removes the file, unless the file was finished.
pub(crate) struct Aside {
    file: File,
    partial: PathBuf,
    path: PathBuf,
}

impl Aside {
    pub(crate) fn create(path: &Path) -> Result<Self, BundleError> {
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let partial = path.with_file_name(format!(".{name}.partial"));
        let open =
            File::options().read(true).write(true).create(true).truncate(true).open(&partial);
        let file = open.map_err(BundleError::file("write", path))?;
        Ok(Self { file, partial, path: path.to_owned() })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns the path of the file until it is finished.
    pub(crate) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Syncs the file and gives it its name.
    pub(crate) fn finish(self) -> Result<(), BundleError> {
        let rename = |()| std::fs::rename(&self.partial, &self.path);
        self.file.sync_all().and_then(rename).map_err(BundleError::file("write", &self.path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After `finish` no file of this name is left.
        let _ = std::fs::remove_file(&self.partial);
    }
}
