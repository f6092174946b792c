//! Judges if a bundle fits this device: signature, policy, quarantine, content.
//!
//! `bundle` verifies and applies the policy. This file gives it the facts about the device. Nothing
//! here writes to a slot.

use std::path::Path;

use bundle::{Bundle, Compatible, Policy, Verified};
use image_layout::{Disk, FileDisk, Slot};

use crate::config::Config;
use crate::device::Device;
use crate::device::disk::opener::Access;
use crate::device::identity::identity;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::status::state::Quarantined;
use crate::status::state_file::StateFile;
use crate::trust::keys::bundle_keys;

/// Opens the bundle `file` and verifies its signatures.
///
/// # Errors
/// The keys cannot be loaded, the file cannot be read, or it is no acceptable bundle.
pub(crate) fn open(
    config: &Config,
    device: &Device,
    file: &Path,
    doing: &str,
) -> Result<Verified<FileDisk>, Failure> {
    let keyring = bundle_keys(config, device)?;
    let disk = FileDisk::open_read_only(file)
        .map_err(|error| Failure::new(Exit::NotABundle, format!("{doing}: opening it: {error}")))?;
    Bundle::open(disk, &keyring).map_err(|error| Failure::from_bundle(doing, &error))
}

/// Checks that the bundle is for this device, not below the floor, and fits into slot `target`.
///
/// # Errors
/// The exit code of the rule that the bundle breaks.
pub(crate) fn check_fitness<D>(
    device: &Device,
    config: &Config,
    verified: &Verified<D>,
    target: Slot,
    doing: &str,
) -> Result<(), Failure> {
    let here = identity(device).map_err(|cause| {
        Failure::new(Exit::NotADevice, format!("{doing}: cannot tell what this device is: {cause}"))
    })?;
    let compatible: Compatible = here.compatible.parse().map_err(|error| {
        Failure::new(Exit::NotADevice, format!("{doing}: cannot tell what this device is: {error}"))
    })?;
    let capacity = |label: &str| -> Result<u64, Failure> {
        let path = device.partition(label)?;
        let size = device.open(path, Access::Look).and_then(|disk| disk.size());
        size.map_err(|error| {
            Failure::new(Exit::SlotIo, format!("{doing}: looking at {}: {error}", path.display()))
        })
    };
    let policy = Policy {
        compatible: &compatible,
        floor: (&config.min_version).max(&here.min_version),
        // A person who names a file may go back as far as the floor.
        current: None,
        boot_capacity: capacity(target.boot_label())?,
        root_capacity: capacity(target.root_label())?,
    };
    verified.check(&policy).map_err(|error| Failure::from_bundle(doing, &error))
}

/// Returns the quarantine entry of the bundle. `None`: it did not fail on this device.
pub(crate) fn quarantine_of<D>(device: &Device, verified: &Verified<D>) -> Option<Quarantined> {
    StateFile::of(device).load().0.quarantined(&verified.manifest_sha256().to_string()).cloned()
}

/// Returns the refusal of a bundle that is in quarantine.
pub(crate) fn quarantined(doing: &str, entry: &Quarantined) -> Failure {
    Failure::new(
        Exit::Quarantined,
        format!(
            "{doing}: this very bundle failed on this device before ({}); build a new bundle, or \
                try again with --allow-quarantined",
            entry.reason
        ),
    )
}

/// Verifies every byte of the payload.
///
/// # Errors
/// The content does not match its hashes, or what `interrupt` says.
pub(crate) fn verify_payload<D: Disk + Sync>(
    verified: &Verified<D>,
    interrupt: &Interrupt,
    doing: &str,
) -> Result<(), Failure> {
    let mut progress = Progress::start("checking", verified.manifest().bundle.size);
    verified
        .verify_payload(&mut |done| progress.at(done))
        .map_err(|error| Failure::from_bundle(doing, &error))?;
    interrupt.check()
}
