//! Makes the recovery file of a boot image, which GRUB loads only when it starts recovery.
//!
//! The agent in the file installs a bundle.
//!
//! GRUB loads the file after the initramfs, and the kernel unpacks both into one root. If both have
//! a file, such as the index of modules, the recovery file's counts. So recovery costs the boot of
//! a slot nothing, and a slot's boot image has everything that installs from a USB stick.

use crate::archive::{self, Archive};
use crate::build::{Module, add_modules};
use crate::error::BuildError;

/// Name of the file in the boot image.
pub const FILE: &str = "recovery.img";
/// Name of the file in the boot image that holds its SHA-256, in the form of `sha256sum`.
pub const SUMS_FILE: &str = "RECOVERY.SHA256SUMS";
/// Where the agent lies in the archive.
pub const AGENT: &str = "bin/daruma";
/// The identity of the device that the agent has in recovery: the kind of the device and the floor.
/// It has the form of `slot.cfg`.
pub const IDENTITY: &str = "etc/daruma/recovery.cfg";

/// The input of [`build`]. The same input gives the same bytes.
#[derive(Clone, Debug)]
pub struct RecoveryInput<'a> {
    /// The static program `daruma`.
    pub agent: &'a [u8],
    /// The modules of the initramfs in front of this file.
    pub present: &'a [Module],
    /// The modules that only recovery needs.
    pub modules: &'a [Module],
    /// The agent's configuration: path without a leading `/`, and content.
    pub files: &'a [(String, Vec<u8>)],
    /// `SOURCE_DATE_EPOCH` in seconds.
    pub epoch: u64,
}

/// Writes two archives, as [`crate::build()`] does. The first has the agent, which an update of
/// Debian does not change. The second has all else.
///
/// # Errors
/// Those of [`crate::build()`].
pub fn build(input: &RecoveryInput<'_>) -> Result<Vec<u8>, BuildError> {
    archive::compress(&archives(input)?)
}

/// Returns the archives of [`build`], for a caller that compresses them itself.
///
/// # Errors
/// Those of [`crate::build()`].
pub fn archives(input: &RecoveryInput<'_>) -> Result<Vec<Vec<u8>>, BuildError> {
    let mut agent = Archive::new(input.epoch)?;
    agent.file(AGENT, 0o755, input.agent)?;
    let mut rest = Archive::new(input.epoch)?;
    for (path, content) in input.files {
        rest.file(path, 0o644, content)?;
    }
    add_modules(&mut rest, input.modules, input.present)?;
    Ok(vec![agent.finish()?, rest.finish()?])
}
