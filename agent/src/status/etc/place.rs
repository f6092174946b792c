//! Where the running system's /etc comes from: the image's part, and the upper that covers it.
//!
//! daruma-init mounts the overlay (docs/disk-layout.md). This file only looks at the places.

use std::path::{Path, PathBuf};

use etc_merge::{Difference, Marks};

use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::status::etc::images;

/// The parts of the running /etc.
#[derive(Debug)]
pub(crate) struct Place {
    /// The image's /etc.
    pub image: PathBuf,
    /// What differs from it.
    pub upper: PathBuf,
    /// What the system shows: the upper over the image.
    pub shown: PathBuf,
}

impl Place {
    /// Finds the parts, and makes the image's /etc visible to this process.
    ///
    /// # Errors
    /// [`Exit::NotADevice`]: no slot runs, or /etc keeps nothing on /var.
    pub(crate) fn find(device: &Device) -> Result<Self, Failure> {
        let slot = device.running()?;
        let upper = device.path(format!("/var/lib/daruma/etc/{slot}/upper"));
        if !upper.is_dir() {
            return Err(Failure::new(
                Exit::NotADevice,
                format!(
                    "looking for the changes of /etc in {}: this system keeps none there; its \
                        kernel command line has another daruma.overlay, or /var is in memory",
                    upper.display()
                ),
            ));
        }
        Ok(Self { image: images::running(device)?.join("etc"), upper, shown: device.path("/etc") })
    }

    /// Returns what differs between the image's /etc and the running one.
    ///
    /// # Errors
    /// [`Exit::Unexpected`]: a folder cannot be read.
    pub(crate) fn differences(&self) -> Result<Vec<Difference>, Failure> {
        etc_merge::differences(&self.image, &self.upper, Marks::Trusted, &mut || true)
            .map_err(|error| Failure::new(Exit::Unexpected, format!("comparing /etc: {error}")))
    }
}

/// Returns `path` below /etc: it may be given as `/etc/PATH` or as `PATH`.
///
/// # Errors
/// [`Exit::Usage`]: the path is not below /etc.
pub(crate) fn below_etc(path: &Path) -> Result<PathBuf, Failure> {
    let below = path.strip_prefix("/etc").unwrap_or(path);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if below.components().all(plain) {
        return Ok(below.to_owned());
    }
    let line = format!("{}: the path is not below /etc; give it as /etc/...", path.display());
    Err(Failure::new(Exit::Usage, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_etc_or_refused() {
        for (given, below) in [("/etc/ssh/sshd_config", "ssh/sshd_config"), ("fstab", "fstab")] {
            assert_eq!(below_etc(Path::new(given)).unwrap(), Path::new(below));
        }
        for given in ["/usr/bin", "../etc/fstab", "/etc/../usr"] {
            assert_eq!(below_etc(Path::new(given)).unwrap_err().exit, Exit::Usage, "{given}");
        }
    }
}
