//! `daruma status`: gathers what runs, what the slots hold, what boots next and what happened.
//!
//! `text` writes it for a person. Gathering changes nothing, and needs neither lock nor daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use grub_env::{BootState, FactoryReset};
use image_layout::{Slot, label};
use serde::Serialize;

use crate::config::{self, Config};
use crate::device::Device;
use crate::device::command_line::Booted;
use crate::device::disk::partitions;
use crate::exit::{Exit, Failure};
use crate::health::units::{UnitsStatus, report};
use crate::status::init_report;
use crate::status::marks::{CHECKING, DEGRADED, HEALTHY};
use crate::status::root::RootChanges;
use crate::status::state::{Event, Quarantined};
use crate::status::state_file::StateFile;
use crate::status::var::Var;

/// Everything that `daruma status --json` prints. Fields may be added; none changes its meaning.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `A`, `B` or `recovery`.
    pub running: String,
    /// The kind of this device, by the running slot.
    pub compatible: Option<String>,
    /// The running system's version.
    pub version: Option<String>,
    /// `trial`, `committed`, or `bad` when a person marked the running slot bad.
    pub state: &'static str,
    /// `healthy`, `checking` or `degraded`. `unknown` if no daemon has looked yet.
    pub health: &'static str,
    /// Why the system is degraded.
    pub degraded_because: Option<String>,
    /// The slot that GRUB boots next if everything loads: `A`, `B` or `recovery`.
    pub boots_next: String,
    /// Both slots by name.
    pub slots: BTreeMap<String, SlotStatus>,
    /// The disk that the system runs from. Absent: daruma-init did not record it.
    pub disk: Option<DiskStatus>,
    /// How the last merge of /etc went, in one line. Absent: this /etc was not merged.
    pub etc: Option<String>,
    /// What was changed in the root, until the next update. Absent: the root is the image's.
    pub root: Option<RootChanges>,
    /// `kept` if /var outlives this boot. `read-only`: changes are in memory. `memory`: all of it
    /// is. Absent: /var is not mounted by daruma-init.
    pub var: Option<Var>,
    /// The factory reset that the next boot of a committed system does.
    pub factory_reset: Option<ResetStatus>,
    /// The units that worked in the last committed system. Absent in recovery.
    pub units: Option<UnitsStatus>,
    /// Damage of the boot environment, one line each.
    pub environment_damage: Vec<String>,
    /// Past events, oldest first.
    pub events: Vec<Event>,
    /// Bundles that failed on this device.
    pub quarantined: Vec<Quarantined>,
    /// Other lines for a person: daruma-init's lines of this boot, an unusable state file or
    /// configuration, units that do not work.
    pub warnings: Vec<String>,
}

/// The disk that GRUB started from, and others that look like it.
#[derive(Clone, Debug, Serialize)]
pub struct DiskStatus {
    /// The kernel's name, such as `vda`.
    pub name: String,
    /// How it was told from other disks at boot: by `alone`, `guid`, `environment`, `root-hash`;
    /// less surely by `partitions`, `fixed`, `place`, `nothing`.
    pub chosen_by: &'static str,
    /// Other disks with Daruma's partitions that are there now.
    pub others: Vec<String>,
    /// `chosen_by` as a part of a sentence.
    #[serde(skip)]
    pub because: String,
}

/// A factory reset that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct ResetStatus {
    /// The paths that stay.
    pub keep: Vec<String>,
}

impl ResetStatus {
    fn of(reset: &FactoryReset) -> Self {
        Self { keep: reset.names() }
    }
}

impl DiskStatus {
    fn of(device: &Device) -> Option<Self> {
        let record = device.disk_record()?;
        Some(Self {
            name: record.disk.clone(),
            chosen_by: record.by.word(),
            others: partitions::others(Path::new("/sys"), &record.disk),
            because: record.by.to_string(),
        })
    }
}

/// One slot.
#[derive(Clone, Debug, Serialize)]
pub struct SlotStatus {
    /// The version that the slot holds. Absent: the slot is empty or damaged.
    pub version: Option<String>,
    /// The build id of that version.
    pub build: Option<String>,
    /// Why the slot's content cannot be read.
    pub unreadable_because: Option<String>,
    /// True if GRUB may boot it.
    pub ok: bool,
    /// True if it is on trial.
    pub trial: bool,
    /// Boots since it was last healthy.
    pub tries: u8,
    /// Boots after which GRUB gives it up.
    pub limit: u8,
}

impl Status {
    /// Reads everything and changes nothing.
    ///
    /// # Errors
    /// [`Exit::Environment`] when the ESP cannot be read.
    pub fn gather(device: &Device) -> Result<Self, Failure> {
        let loaded = device.environment_read_only()?.load().map_err(|error| {
            let place = device.partition(label::ESP).unwrap_or("the ESP".as_ref()).display();
            Failure::new(
                Exit::Environment,
                format!("reading the boot environment on {place}: {error}"),
            )
        })?;
        let boot = BootState::from_env(&loaded.env);
        let (state, complaint) = StateFile::of(device).load();
        let slots = Slot::ALL.map(|slot| (slot, SlotStatus::of(device, &boot, slot)));
        let running = match device.command_line().booted {
            Booted::Slot(slot) => Some(slot),
            Booted::Recovery => None,
        };
        let running_config = running.and_then(|slot| device.slot_config(slot).ok());
        let degraded_because =
            fs::read_to_string(device.path(DEGRADED)).ok().map(|line| line.trim().to_owned());
        let health = if degraded_because.is_some() {
            "degraded"
        } else if device.path(HEALTHY).exists() {
            "healthy"
        } else if device.path(CHECKING).exists() {
            "checking"
        } else {
            "unknown"
        };
        let (config, unusable) = match Config::load(&device.path(config::FILE)) {
            Ok(config) => (config, None),
            Err(failure) => (Config::default(), Some(config::makeshift_line(&failure))),
        };
        let (units, of_units) = running.map(|_| report::gather(device, &config.health)).unzip();
        Ok(Self {
            running: running.map_or("recovery", Slot::name).to_owned(),
            compatible: running_config.as_ref().map(|config| config.compatible.clone()),
            version: running_config.map(|config| config.version.to_string()),
            state: match running {
                Some(slot) if boot.trial == Some(slot) => "trial",
                Some(slot) if !boot.slot(slot).ok => "bad",
                Some(_) => "committed",
                None => "recovery",
            },
            health,
            degraded_because,
            boots_next: boot.select().slot.map_or("recovery", Slot::name).to_owned(),
            slots: slots
                .into_iter()
                .map(|(slot, status)| (slot.name().to_owned(), status))
                .collect(),
            disk: DiskStatus::of(device),
            etc: running.and_then(|slot| etc_line(device, slot)),
            root: running.and_then(|slot| RootChanges::of(device, slot)),
            var: Var::of(device),
            factory_reset: FactoryReset::of(&loaded.env).as_ref().map(ResetStatus::of),
            units,
            environment_damage: loaded.damage,
            events: state.events,
            quarantined: state.quarantined,
            warnings: init_report::warnings(device)
                .into_iter()
                .chain(complaint)
                .chain(unusable)
                .chain(of_units.into_iter().flatten())
                .collect(),
        })
    }
}

#[cfg(feature = "etc")]
fn etc_line(device: &Device, slot: Slot) -> Option<String> {
    match crate::status::etc::last(device, slot) {
        Ok(report) => report.as_ref().map(crate::status::etc::summary),
        Err(cause) => Some(cause),
    }
}

#[cfg(not(feature = "etc"))]
fn etc_line(_: &Device, _: Slot) -> Option<String> {
    None
}

impl SlotStatus {
    fn of(device: &Device, boot: &BootState, slot: Slot) -> Self {
        let (config, unreadable_because) = match device.slot_config(slot) {
            Ok(config) => (Some(config), None),
            Err(cause) => (None, Some(cause)),
        };
        Self {
            version: config.as_ref().map(|config| config.version.to_string()),
            build: config.map(|config| config.build),
            unreadable_because,
            ok: boot.slot(slot).ok,
            trial: boot.trial == Some(slot),
            tries: boot.slot(slot).tries,
            limit: boot.limit(slot),
        }
    }
}
