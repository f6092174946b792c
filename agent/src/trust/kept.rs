//! Reads and writes documents that channels brought, in `/var/lib/daruma/trust`.
//!
//! The readers verify the signatures, because a file in `/var` proves nothing. A lost file does no
//! harm: the next poll brings it again.

use std::fs::File;
#[cfg(feature = "pull")]
use std::io::Write;
use std::io::{self, Read};
use std::path::Path;

#[cfg(feature = "pull")]
use crate::console::warn;
#[cfg(feature = "pull")]
use crate::device::Device;

/// Folder of what channels brought.
pub(crate) const FOLDER: &str = "/var/lib/daruma/trust";

/// Reads a file of at most `limit` bytes. Of a longer file it returns one byte more than that,
/// which the caller refuses.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file of [`FOLDER`] aside, syncs and renames it. A power cut leaves the old or the new
/// file. An error is only a warning, because a channel brings the file again.
#[cfg(feature = "pull")]
pub(crate) fn keep(device: &Device, name: &str, bytes: &[u8]) {
    let folder = device.path(FOLDER);
    let aside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, folder.join(name))?;
        File::open(&folder)?.sync_all()
    };
    if let Err(error) = write() {
        let _ = std::fs::remove_file(&aside);
        warn(format_args!("writing {}: {error}", folder.join(name).display()));
    }
}
