//! The part of an install that changes the device, in the order of `docs/boot-protocol.md`.
//!
//! `fitness` has judged the bundle, and `chunks/` writes the slot. The last step is one write of
//! the boot environment. It puts the new system on trial.

use std::path::Path;

use bundle::delta::limits;
use bundle::{ImageName, Verified};
use grub_env::{BootState, TransitionError};
use image_layout::{Disk, Slot};
use semver::Version;

use crate::config::Config;
use crate::console::{say, warn};
use crate::device::Device;
use crate::device::disk::opener::Access;
use crate::device::esp::environment::Environment;
use crate::device::slot::running::Reading;
use crate::device::slot::target::SlotTarget;
use crate::exit::{Exit, Failure};
use crate::install::chunks::delta_way::DeltaWay;
use crate::install::chunks::job::Job;
use crate::install::chunks::plan::Plan;
use crate::install::chunks::writer::write_images;
use crate::install::fitness::{check_fitness, quarantine_of, quarantined, verify_payload};
use crate::install::origin::{Options, Origin};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::status::state::Kind;
use crate::status::state_file::StateFile;
use image_layout::Amount;

/// Installs an opened bundle into the idle slot. `doing` begins the line of each failure. Returns
/// the version.
///
/// # Errors
/// As [`crate::install()`].
pub fn install_bundle<D: Disk + Sync>(
    device: &Device,
    config: &Config,
    verified: &Verified<D>,
    origin: Origin<'_>,
    options: Options,
    interrupt: &Interrupt,
    doing: &str,
) -> Result<Version, Failure> {
    let target = !device.running()?;
    // Nothing here touches the slot: fitness for this device, and every byte of the payload.
    check_fitness(device, config, verified, target, doing)?;
    if let Some(entry) = quarantine_of(device, verified)
        && !options.allow_quarantined
    {
        return Err(quarantined(doing, &entry));
    }
    interrupt.check()?;
    if matches!(origin, Origin::File) {
        verify_payload(verified, interrupt, doing)?;
    }
    write_slot(device, verified, origin, target, BootState::begin_install, "", interrupt, doing)
}

/// The move of the boot state that makes overwriting a slot safe.
pub(crate) type Begin = fn(&mut BootState, Slot) -> Result<(), TransitionError>;

/// Writes a verified bundle into `target` and puts it on trial. `how` goes into the event. Returns
/// the version.
#[expect(
    clippy::too_many_arguments,
    reason = "each is another thing, and both callers have them one by one"
)]
pub(crate) fn write_slot<D: Disk + Sync>(
    device: &Device,
    verified: &Verified<D>,
    origin: Origin<'_>,
    target: Slot,
    begin: Begin,
    how: &str,
    interrupt: &Interrupt,
    doing: &str,
) -> Result<Version, Failure> {
    let partitions =
        [(ImageName::BOOT, target.boot_label()), (ImageName::ROOT, target.root_label())];
    let mut jobs = Vec::new();
    for (image, label) in partitions {
        let path = device.partition(label)?;
        let disk = device.open(path, Access::Write).map_err(|error| {
            Failure::new(Exit::SlotIo, format!("{doing}: opening {}: {error}", path.display()))
        })?;
        jobs.push(Job { image, target: SlotTarget::new(path, disk) });
    }

    let _lock = device.lock()?;
    let mut environment = Environment::load(device)?;
    let mut boot = environment.state();
    begin(&mut boot, target).map_err(|error| refusal(doing, error))?;
    let update = &verified.manifest().update;
    let (version, build) = (&update.version, update.build.as_str());
    let size = |image: &str| verified.manifest().image(image).map_or(0, |image| image.size);
    let bytes: u64 = partitions.iter().map(|(image, _)| size(image)).sum();
    let (plan, expect, delta) = match origin {
        Origin::File => (None, None, None),
        Origin::Remote { expect, running, delta } => {
            let running = || running.or_else(|| Reading::begin(device)).and_then(Reading::finish);
            let plan = Plan::make(verified, &jobs, running, delta.is_some(), interrupt)?;
            let delta = delta.filter(|delta| delta.size < plan.fetched);
            (Some(plan), Some(expect), delta)
        }
    };
    let ways = match (&plan, delta) {
        (Some(Plan { fetched, .. }), Some(DeltaWay { size, memory_mib, .. })) => {
            let kernel = match memory_mib {
                ..=limits::MEMORY => String::new(),
                mib => format!(" with the kernel's payload, in {mib} MiB of memory"),
            };
            let (delta, chunks, full) = (Amount(size), Amount(*fetched), Amount(bytes));
            format!("a delta of {delta}{kernel} (instead of {chunks} by chunks, {full} in full)")
        }
        (Some(Plan { here, copied, made, fetched, .. }), None) => format!(
            "{} to fetch, {} from the running slot, {} already there{}",
            Amount(*fetched),
            Amount(*copied),
            Amount(*here),
            if *made > 0 {
                format!(", {} of hashes made here", Amount(*made))
            } else {
                String::new()
            }
        ),
        (None, _) => {
            let place = partitions.map(|(image, label)| format!("{label} {}", Amount(size(image))));
            format!("{} to write ({})", Amount(bytes), place.join(", "))
        }
    };
    say(format_args!("{} {version} into slot {target}: {ways}", update.compatible));
    if let (Some(plan), Some(expect), None) = (&plan, expect, delta) {
        expect(plan.missing())?;
    }

    // Step 1: the idle slot cannot be booted any more.
    environment.write(&boot)?;
    forget_settings(device, target);
    // Steps 2 and 3: written, synced, read back and compared.
    write_images(
        verified,
        plan.as_ref(),
        delta,
        &jobs,
        interrupt,
        &mut Progress::start("writing", bytes),
    )?;
    interrupt.check()?;
    // The manifest must be known before the flip. If the slot fails, the manifest goes into
    // quarantine.
    StateFile::of(device).change(|state| {
        state.remember(target, version, build, &verified.manifest_sha256().to_string());
        state.record(Kind::Installed, target, Some(version), how);
    });
    // Step 4: one write flips it all.
    boot.begin_trial(target).map_err(|error| refusal(doing, error))?;
    environment.write(&boot)?;
    Ok(version.clone())
}

/// Removes the names from the slot's uppers, which belong to the system that is overwritten.
/// daruma-init then starts from a copy of the running slot's upper, even if the same image comes
/// again.
fn forget_settings(device: &Device, target: Slot) {
    for kind in ["etc", "root"] {
        let path = device.path(Path::new(&format!("/var/lib/daruma/{kind}/{target}/identity")));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                warn(format_args!(
                    "removing {}: {error}; if this bundle was in slot {target} before, its \
                        settings come back with it",
                    path.display()
                ));
            }
            _ => {}
        }
    }
}

fn refusal(doing: &str, error: TransitionError) -> Failure {
    let line = match error {
        TransitionError::OnTrial(running) => format!(
            "{doing}: slot {running} is on trial and the other slot holds the only proven system; \
                wait until slot {running} is committed, or run 'daruma mark good'"
        ),
        TransitionError::OnlyGood(target) => format!(
            "{doing}: slot {target} is the only slot that may be booted, because the running slot \
                is marked bad; run 'daruma mark good' if the running slot is good"
        ),
        other => format!("{doing}: {other}"),
    };
    Failure::new(Exit::OnTrial, line)
}
