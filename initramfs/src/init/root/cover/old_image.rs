//! The image of the other slot, read-only: the base of the merge of /etc.
//!
//! `merge` reads it. It is opened only while a new upper is made, and only through dm-verity: the
//! slot may have been overwritten since the upper was last used.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, umount2};
use sys_mount::MountFlags;

use crate::cmdline::Verity;
use crate::disk::verity::VerityDevice;
use crate::root::mounts;

/// Where the boot image is mounted while its `slot.cfg` is read.
const BOOT: &str = "/daruma/old-boot";
const ROOT: &str = "/daruma/old-root";
/// The name of the dm-verity device.
const NAME: &str = "daruma-old";

/// The partitions of the other slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OldSlot {
    pub boot: PathBuf,
    pub root: PathBuf,
}

/// The root image of the other slot, mounted until this value is dropped.
pub(crate) struct OldImage {
    device: VerityDevice,
}

impl OldImage {
    /// Mounts the image with the root hash `identity`.
    ///
    /// # Errors
    /// The slot holds another system by now, or cannot be read.
    pub(crate) fn open(slot: &OldSlot, identity: &str) -> Result<Self> {
        let verity = figures(&slot.boot)?;
        ensure!(verity.root_hash == identity, "the other slot holds another system by now");
        let device = VerityDevice::open(NAME, &slot.root, &verity)
            .with_context(|| format!("opening {}", slot.root.display()))?;
        let image = Self { device };
        mounts::mount("squashfs", &image.device.path, ROOT, MountFlags::RDONLY, "")?;
        Ok(image)
    }

    /// Returns the image's /etc.
    #[expect(clippy::unused_self, reason = "the folder is there as long as the image is open")]
    pub(crate) fn etc(&self) -> PathBuf {
        Path::new(ROOT).join("etc")
    }
}

impl Drop for OldImage {
    fn drop(&mut self) {
        // What stays open costs memory, and a shutdown closes it.
        let _ = umount2(ROOT, MntFlags::empty());
        let _ = self.device.remove();
    }
}

/// Returns what the `slot.cfg` of a boot image says of its root image.
fn figures(boot: &Path) -> Result<Verity> {
    mounts::mount("squashfs", boot, BOOT, MountFlags::RDONLY, "")?;
    let text = fs::read_to_string(Path::new(BOOT).join("slot.cfg"));
    let _ = umount2(BOOT, MntFlags::empty());
    let reading = || format!("reading slot.cfg of {}", boot.display());
    in_slot_cfg(&text.with_context(reading)?).with_context(reading)
}

fn in_slot_cfg(text: &str) -> Result<Verity> {
    let value = text.lines().find_map(|line| line.strip_prefix("set daruma_verity="));
    Verity::parse(value.context("daruma_verity is missing")?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_slot_cfg() {
        let hash = "ab".repeat(32);
        let text = format!("set daruma_version=1.0.0\nset daruma_verity={hash}:00ff:1234\n");
        let expected = Verity { root_hash: hash, salt: "00ff".into(), data_blocks: 1234 };
        assert_eq!(in_slot_cfg(&text).unwrap(), expected);
        for text in ["", "set daruma_verity=\n", "set daruma_verity=ab:00:1\n"] {
            assert!(in_slot_cfg(text).is_err(), "{text:?}");
        }
    }
}
