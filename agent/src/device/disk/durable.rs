//! Replaces a file so that a power cut leaves the old or the new one.
//!
//! The callers choose the content, and say what is lost with the file. The folder is made if it is
//! missing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` beside the file, syncs them, renames them over the file, and syncs the folder.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let aside = path.with_extension("json.new");
    let written = (|| {
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    if let Err(error) = written {
        // On a full disk the half-written file would only take more of the missing space.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    fs::rename(&aside, path)?;
    File::open(folder)?.sync_all()
}
