//! Judges one bundle on a stick, and compares several.
//!
//! `install::fitness` has the rules, and `choice` installs. The signed manifest is judged first.
//! The payload is verified only for the bundle that is taken.

use std::path::{Path, PathBuf};

use bundle::Verified;
use image_layout::{FileDisk, Slot};
use semver::Version;

use crate::config::Config;
use crate::device::Device;
use crate::device::identity::identity;
use crate::exit::{Exit, Failure};
use crate::install::fitness::{check_fitness, open, quarantine_of, quarantined, verify_payload};
use crate::interrupt::Interrupt;

/// Which acceptable bundles are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Recovery: any. A bundle that failed on this device before comes last, because there may be
    /// nothing better now.
    Any,
    /// The running system: any bundle except the running one.
    Other,
    /// The running system: only a bundle newer than the running one.
    Newer,
}

/// A bundle on a stick.
#[derive(Debug)]
pub(crate) struct Offer {
    /// The file.
    pub(crate) path: PathBuf,
    /// The version in its signed manifest. `None`: the manifest cannot be believed.
    pub(crate) version: Option<Version>,
    /// True if this very bundle failed on this device before.
    pub(crate) failed_before: bool,
    /// Why it is not taken. `None`: it may be taken.
    pub(crate) refused: Option<Failure>,
}

impl Offer {
    /// Judges `path` without reading its payload.
    pub(crate) fn of(
        device: &Device,
        config: &Config,
        path: &Path,
        target: Slot,
        wanted: Wanted,
    ) -> Self {
        let mut offer =
            Self { path: path.to_owned(), version: None, failed_before: false, refused: None };
        let doing = offer.name();
        offer.refused = match open(config, device, path, &doing) {
            Ok(verified) => {
                offer.version = Some(verified.manifest().update.version.clone());
                let entry = quarantine_of(device, &verified);
                offer.failed_before = entry.is_some();
                check_fitness(device, config, &verified, target, &doing)
                    .and_then(|()| is_wanted(device, &verified, wanted, &doing))
                    .and_then(|()| match entry {
                        Some(entry) if wanted != Wanted::Any => Err(quarantined(&doing, &entry)),
                        _ => Ok(()),
                    })
                    .err()
            }
            Err(failure) => Some(failure),
        };
        offer
    }

    /// Returns the file's name, for a person.
    pub(crate) fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .chars()
            .filter(|c| !c.is_control())
            .collect()
    }

    /// Verifies every byte.
    pub(crate) fn verify(
        &self,
        device: &Device,
        config: &Config,
        interrupt: &Interrupt,
    ) -> Result<Verified<FileDisk>, Failure> {
        let doing = self.name();
        let verified = open(config, device, &self.path, &doing)?;
        verify_payload(&verified, interrupt, &doing)?;
        Ok(verified)
    }
}

fn is_wanted(
    device: &Device,
    verified: &Verified<FileDisk>,
    wanted: Wanted,
    doing: &str,
) -> Result<(), Failure> {
    if wanted == Wanted::Any {
        return Ok(());
    }
    let here = identity(device)
        .map_err(|cause| Failure::new(Exit::NotADevice, format!("{doing}: {cause}")))?;
    let update = &verified.manifest().update;
    if update.version == here.version && update.build.as_str() == here.build {
        let line = format!("{doing}: version {} is the one that runs", here.version);
        return Err(Failure::new(Exit::Floor, line));
    }
    if wanted == Wanted::Newer && !update.version.cmp_precedence(&here.version).is_gt() {
        let line = format!(
            "{doing}: version {} is not newer than the running {}; run 'daruma install' to install \
                it all the same",
            update.version, here.version
        );
        return Err(Failure::new(Exit::Floor, line));
    }
    Ok(())
}

/// Returns the index of the offer to take: the highest version. One that failed here before is
/// taken only if there is no other.
pub(crate) fn best(offers: &[Offer]) -> Option<usize> {
    let rank = |offer: &Offer| (!offer.failed_before, offer.version.clone());
    let acceptable = offers.iter().enumerate().filter(|(_, offer)| offer.refused.is_none());
    acceptable.max_by(|(_, a), (_, b)| rank(a).cmp(&rank(b))).map(|(index, _)| index)
}
