//! `daruma etc diff`: the lines that differ between the image's /etc and the running one.
//!
//! `diffy` compares. A file that is no text is only named.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use etc_merge::{Change, escaped};

use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::status::etc::changes::word;
use crate::status::etc::place::{Place, below_etc};

/// Bytes of a file beyond which it is not compared by lines.
const MOST: u64 = 1 << 20;

/// Returns the differences in `path`, or in all of /etc, as a unified diff.
///
/// # Errors
/// [`Exit::Usage`]: the path is not below /etc. Otherwise as [`Place::find`] and
/// [`Place::differences`].
pub fn difference(device: &Device, path: Option<&Path>) -> Result<String, Failure> {
    let wanted = path.map(below_etc).transpose()?.unwrap_or_default();
    let place = Place::find(device)?;
    let mut text = String::new();
    for changed in place.differences()? {
        let path = &changed.path;
        if !path.starts_with(&wanted) {
            continue;
        }
        let (name, change) = (escaped(path.as_os_str().as_bytes()), changed.change);
        match (read(&place.image.join(path))?, read(&place.shown.join(path))?) {
            (Some(old), Some(new)) if change != Change::Metadata => {
                let mut options = diffy::DiffOptions::new();
                options.set_original_filename(format!("image/etc/{name}"));
                options.set_modified_filename(format!("device/etc/{name}"));
                let _ = write!(text, "{}", options.create_patch(&old, &new));
            }
            _ => {
                let _ = writeln!(text, "{} /etc/{name}", word(change));
            }
        }
    }
    Ok(text)
}

/// Returns the text of a file; empty if there is no file. `None`: it is no text, or too large.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    let failure = |error: std::io::Error| {
        Failure::new(Exit::Unexpected, format!("reading {}: {error}", path.display()))
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(String::new())),
        Err(error) => Err(failure(error)),
        Ok(file) if file.is_file() && file.len() <= MOST => {
            Ok(String::from_utf8(fs::read(path).map_err(failure)?).ok())
        }
        Ok(_) => Ok(None),
    }
}
