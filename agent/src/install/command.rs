//! `daruma install`: reads from top to bottom in the order of `docs/boot-protocol.md`, "Install".
//! Everything that can be refused is refused before the first byte of the idle slot is touched.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use bundle::delta::limits;
use bundle::{Bundle, Compatible, ImageName, Policy, Verified};
use grub_env::{BootState, TransitionError};
use image_layout::{Disk, FileDisk, Slot};
use semver::Version;

use crate::config::Config;
use crate::console::{say, warn};
use crate::device::Device;
use crate::device::disk::opener::Access;
use crate::device::environment::Environment;
use crate::device::identity::identity;
use crate::device::slot::running::Reading;
use crate::device::slot::target::SlotTarget;
use crate::exit::{Exit, Failure};
use crate::install::chunks::plan::Plan;
use crate::install::chunks::writer::{Job, write_images};
use crate::interrupt::Interrupt;
use crate::progress::{Progress, megabytes};
use crate::status::state::{Kind, Quarantined};
use crate::trust::root::bundle_keys;

/// What a person may ask for besides the bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Install a bundle that failed on this device before.
    pub allow_quarantined: bool,
}

/// Installs the bundle `file`, a path or an address (`http://`, `https://`, `oci://`), into the
/// slot that does not run. Returns what to tell the person.
///
/// # Errors
/// Every refusal has its own [`Exit`]; all up to [`Exit::Locked`] leave slot and environment as
/// they were. After that the idle slot is marked bad until an install succeeds.
pub fn install(
    device: &Device,
    config: &Config,
    file: &Path,
    options: Options,
    interrupt: &Interrupt,
) -> Result<String, Failure> {
    let started = Instant::now();
    let (version, how) = match web_address(file) {
        Some(url) => from_web(device, config, url, options, interrupt)?,
        None => {
            let doing = format!("installing {}", file.display());
            let verified = open(config, device, file, &doing)?;
            let origin = Origin::File;
            let version =
                install_bundle(device, config, &verified, origin, options, interrupt, &doing)?;
            (version, String::new())
        }
    };
    let elapsed = started.elapsed().as_secs_f64();
    Ok(format!(
        "installed {version} into slot {} in {elapsed:.1} s{how}; it is on trial from the next \
            boot: reboot to start it",
        !device.running()?
    ))
}

/// `file` as text, if it is an address and no path.
fn web_address(file: &Path) -> Option<&str> {
    let is_web = |text: &&str| {
        if bundle::oci::is_oci(text) {
            return true;
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| {
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        })
    };
    file.to_str().filter(is_web)
}

#[cfg(feature = "pull")]
fn from_web(
    device: &Device,
    config: &Config,
    url: &str,
    options: Options,
    interrupt: &Interrupt,
) -> Result<(Version, String), Failure> {
    let bundle = crate::install::web::WebBundle { url, tail: None, release: None, deltas: &[] };
    crate::install::web::install_from_web(device, config, &bundle, options, interrupt)
}

#[cfg(not(feature = "pull"))]
fn from_web(
    _: &Device,
    _: &Config,
    _: &str,
    _: Options,
    _: &Interrupt,
) -> Result<(Version, String), Failure> {
    let line = "installing from a web server: this program was built without the network; fetch \
        the bundle and name the file";
    Err(Failure::new(Exit::Network, line))
}

/// Where a bundle is, as far as an install differs by it.
pub enum Origin<'a> {
    /// A file at hand: every byte of it is verified before the slot is touched, and everything is
    /// read from it.
    File,
    /// Far away: what the slots have already is not fetched.
    Remote {
        /// Before the slot is touched, it is told which ranges of the bundle will be read: bytes,
        /// ascending. (Others too, where a slot does not hold what it seemed to.) Its failure ends
        /// the install.
        expect: &'a Expect<'a>,
        /// What the running slot holds, if somebody has begun to look.
        running: Option<Reading>,
        /// A delta besides, which is taken if it is shorter than what else would be fetched.
        delta: Option<DeltaWay<'a>>,
    },
}

/// A way to a bundle's chunks that costs `size` bytes to fetch, in their order: `take` puts chunk
/// `index` of an image into the buffer, or says no from then on.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a function has none")]
pub struct DeltaWay<'a> {
    pub(crate) size: u64,
    pub(crate) memory_mib: u32,
    pub(crate) take: &'a (dyn Fn(&str, usize, &mut Vec<u8>) -> bool + Sync + 'a),
}

/// What is told which ranges of a bundle will be read.
pub type Expect<'a> = dyn Fn(&[Range<u64>]) -> Result<(), Failure> + 'a;

/// Installs a bundle that has been opened into the slot that does not run. `doing` begins each
/// failure's line. Returns the version.
///
/// # Errors
/// As [`install`].
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
    // Nothing of this touches the slot: fitness for this device, and every byte of the payload.
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

/// The move of the boot state that makes a slot's overwriting safe.
pub(crate) type Begin = fn(&mut BootState, Slot) -> Result<(), TransitionError>;

/// Writes a verified bundle into `target` and puts it on trial; the part of an install that changes
/// the device. `how` goes into the event. Returns the version.
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
            let (delta, chunks, full) = (megabytes(size), megabytes(*fetched), megabytes(bytes));
            format!("a delta of {delta}{kernel} (instead of {chunks} by chunks, {full} in full)")
        }
        (Some(Plan { here, copied, made, fetched, .. }), None) => format!(
            "{} to fetch, {} from the running slot, {} already there{}",
            megabytes(*fetched),
            megabytes(*copied),
            megabytes(*here),
            if *made > 0 {
                format!(", {} of hashes made here", megabytes(*made))
            } else {
                String::new()
            }
        ),
        (None, _) => {
            let place =
                partitions.map(|(image, label)| format!("{label} {}", megabytes(size(image))));
            format!("{} to write ({})", megabytes(bytes), place.join(", "))
        }
    };
    say(format_args!("{} {version} into slot {target}: {ways}", update.compatible));
    if let (Some(plan), Some(expect), None) = (&plan, expect, delta) {
        expect(plan.missing())?;
    }

    // Step 1: the idle slot is not bootable any more.
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
    // Before the flip: were the slot to fail, its manifest must be known, to be put into
    // quarantine.
    device.state_file().change(|state| {
        state.remember(target, version, build, &verified.manifest_sha256().to_string());
        state.record(Kind::Installed, target, Some(version), how);
    });
    // Step 4: one write flips it all.
    boot.begin_trial(target).map_err(|error| refusal(doing, error))?;
    environment.write(&boot)?;
    Ok(version.clone())
}

/// The slot's uppers belong to the system that is being overwritten. Without its name on them,
/// daruma-init starts from a copy of the running slot's, also when the very same image is installed
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

/// The bundle's entry in quarantine, if it failed on this device before.
pub(crate) fn quarantine_of<D>(device: &Device, verified: &Verified<D>) -> Option<Quarantined> {
    device.state_file().load().0.quarantined(&verified.manifest_sha256().to_string()).cloned()
}

pub(crate) fn quarantined(doing: &str, entry: &Quarantined) -> Failure {
    Failure::new(
        Exit::Quarantined,
        format!(
            "{doing}: this very bundle failed on this device before ({}); build a new one, or say \
                --allow-quarantined to try again",
            entry.reason
        ),
    )
}

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

fn refusal(doing: &str, error: TransitionError) -> Failure {
    let line = match error {
        TransitionError::OnTrial(running) => format!(
            "{doing}: slot {running} is on trial and the other slot holds the only proven system; \
                wait until it is committed, or say 'daruma mark good'"
        ),
        TransitionError::OnlyGood(target) => format!(
            "{doing}: slot {target} is the only one that may be booted, because the running one \
                is marked bad; say 'daruma mark good' if it is not"
        ),
        other => format!("{doing}: {other}"),
    };
    Failure::new(Exit::OnTrial, line)
}
