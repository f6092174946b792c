//! The conditions that a bundle must meet before a device touches its idle slot.
//!
//! The agent brings the facts of the device. A policy judges only a manifest whose signatures are
//! good.

use semver::Version;

use crate::{BundleError, Compatible, ImageName, Manifest};

/// What the device is and allows.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The kind of device.
    pub compatible: &'a Compatible,
    /// Anti-rollback floor: `min-version` of the committed system.
    pub floor: &'a Version,
    /// The device accepts nothing older than this version, if it is given. A device that pulls
    /// gives its running version. A person who names a file may go back as far as the floor.
    pub current: Option<&'a Version>,
    /// Bytes of the idle slot's boot partition.
    pub boot_capacity: u64,
    /// Bytes of the idle slot's root partition.
    pub root_capacity: u64,
}

impl Policy<'_> {
    /// Checks that the device may install what `manifest` describes. Versions compare as SemVer
    /// says: build metadata (`+…`) does not count.
    ///
    /// # Errors
    /// [`BundleError::OtherCompatible`], [`BundleError::BelowFloor`], [`BundleError::Older`] or
    /// [`BundleError::TooLarge`], whichever is found first.
    pub fn check(&self, manifest: &Manifest) -> Result<(), BundleError> {
        let update = &manifest.update;
        if update.compatible != *self.compatible {
            return Err(BundleError::OtherCompatible {
                bundle: update.compatible.clone(),
                device: self.compatible.clone(),
            });
        }
        let version = &update.version;
        if version.cmp_precedence(self.floor).is_lt() {
            return Err(BundleError::BelowFloor {
                version: version.clone(),
                floor: self.floor.clone(),
            });
        }
        if let Some(current) =
            self.current.filter(|current| version.cmp_precedence(current).is_lt())
        {
            return Err(BundleError::Older { version: version.clone(), current: current.clone() });
        }
        for (name, image) in &manifest.images {
            let capacity = match name.as_str() {
                ImageName::BOOT => self.boot_capacity,
                ImageName::ROOT => self.root_capacity,
                _ => continue, // an x- image does not go into a slot of this format
            };
            if image.size > capacity {
                return Err(BundleError::TooLarge {
                    image: name.clone(),
                    size: image.size,
                    capacity,
                });
            }
        }
        Ok(())
    }
}
