//! `daruma etc diff`: the lines that differ between the image's /etc and the running one.
//!
//! `diffy` compares. A file that is no text is only named.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::status::etc::changes::Changes;
use crate::status::etc::place::{Place, below_etc};

/// Bytes of a file beyond which it is not compared by lines.
const MOST: u64 = 1 << 20;

/// Returns the differences in `path`, or in all of /etc, as a unified diff.
///
/// # Errors
/// [`Exit::Usage`]: the path is not below /etc. Otherwise as [`Changes::gather`].
pub fn difference(device: &Device, path: Option<&Path>) -> Result<String, Failure> {
    let wanted = path.map(below_etc).transpose()?.unwrap_or_default();
    let changes = Changes::gather(device)?;
    let place = Place::find(device)?;
    let mut text = String::new();
    for changed in changes.changes {
        let below = Path::new(&changed.path);
        if !below.starts_with(&wanted) {
            continue;
        }
        let sides = [&place.image, &place.shown].map(|folder| read(&folder.join(below)));
        let [old, new] = sides;
        match (old?, new?) {
            (Some(old), Some(new)) if changed.change != "metadata" => {
                let mut options = diffy::DiffOptions::new();
                let name = |side: &str| format!("{side}/etc/{}", changed.path);
                options.set_original_filename(name("image"));
                options.set_modified_filename(name("device"));
                let _ = write!(text, "{}", options.create_patch(&old, &new));
            }
            _ => {
                let _ = writeln!(text, "{} /etc/{}", changed.change, changed.path);
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
