//! `daruma etc reset`: gives a path of /etc back to the image.
//!
//! It works on the running /etc and not on the upper, which must not change below a mounted overlay
//! (`Documentation/filesystems/overlayfs.rst`). A file that equals the image's is no change for the
//! next merge.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::status::etc::place::{Place, below_etc};

/// Makes each of `paths` what it is in the image. A path that the image has not is removed. Returns
/// a line for each.
///
/// # Errors
/// [`Exit::Usage`]: a path is not below /etc; nothing is changed then. [`Exit::Unexpected`]: a path
/// cannot be copied; the paths before it are reset.
pub fn reset(device: &Device, paths: &[PathBuf]) -> Result<String, Failure> {
    let below = paths.iter().map(|path| below_etc(path)).collect::<Result<Vec<_>, _>>()?;
    if let Some(index) = below.iter().position(|path| path.as_os_str().is_empty()) {
        let line = format!("{}: name the paths in /etc one by one", paths[index].display());
        return Err(Failure::new(Exit::Usage, line));
    }
    let place = Place::find(device)?;
    let mut lines = Vec::new();
    for path in below {
        let failure = |error: io::Error| {
            Failure::new(Exit::Unexpected, format!("resetting /etc/{}: {error}", path.display()))
        };
        lines.push(one(&place, &path).map_err(failure)?);
    }
    Ok(lines.join("\n"))
}

fn one(place: &Place, path: &Path) -> io::Result<String> {
    let (image, shown) = (place.image.join(path), place.shown.join(path));
    let is_in_image = exists(&image)?;
    if !is_in_image && !exists(&shown)? {
        return Err(io::Error::new(ErrorKind::NotFound, "neither the image nor the device has it"));
    }
    let parent = shown.parent().unwrap_or(&place.shown);
    let aside = parent.join(".daruma-reset");
    remove(&aside)?;
    if is_in_image {
        // Modes, owners, attributes and links are cp's business.
        let copied = Command::new("cp").args(["-a", "--"]).args([&image, &aside]).output()?;
        if !copied.status.success() {
            let said = String::from_utf8_lossy(&copied.stderr);
            return Err(io::Error::other(said.lines().last().unwrap_or("cp failed").to_owned()));
        }
    }
    // A file takes the place of a file at once. A folder is gone for a moment.
    if shown.is_dir() || aside.is_dir() || !is_in_image {
        remove(&shown)?;
    }
    if is_in_image {
        fs::rename(&aside, &shown)?;
        return Ok(format!("/etc/{} is the image's again", path.display()));
    }
    Ok(format!("/etc/{} is removed, as in the image", path.display()))
}

fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        other => other.map(|_| true),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}
