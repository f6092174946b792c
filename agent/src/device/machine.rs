//! The device: where its partitions, its files and its runtime folder are.
//!
//! `disk/` finds and opens the partitions, and `environment` changes what boots. Only this file
//! looks at the running system. Tests give a folder instead.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use grub_env::{DiskRecord, EnvStore};
use image_layout::{Slot, label};

use crate::device::command_line::{Booted, CommandLine};
use crate::device::disk::opener::{Access, AnyDisk, Opener};
use crate::device::disk::partitions::{self, Partitions};
use crate::device::lock::Lock;
use crate::device::slot_config::SlotConfig;
use crate::exit::{Exit, Failure};

/// A device, running or laid out in a folder.
#[derive(Clone, Debug)]
pub struct Device {
    root: PathBuf,
    is_real: bool,
    partitions: Partitions,
    /// The disk that daruma-init recorded. `None`: it recorded nothing.
    record: Option<DiskRecord>,
    command_line: CommandLine,
    opener: Opener,
}

impl Device {
    /// Returns the machine that this program runs on, in recovery too. In recovery no slot runs,
    /// and partitions may be missing.
    ///
    /// # Errors
    /// [`Exit::NotADevice`] when Daruma's grub.cfg did not boot it, or when it lacks partitions.
    pub fn discover() -> Result<Self, Failure> {
        let command_line = read_command_line(Path::new("/proc/cmdline"))?;
        let failure = |cause: String| {
            Failure::new(Exit::NotADevice, format!("looking for the device's partitions: {cause}"))
        };
        let (sys, dev) = (Path::new("/sys"), Path::new("/dev"));
        let record = match fs::read_to_string(DiskRecord::PATH) {
            Ok(text) => Some(DiskRecord::parse(&text).ok_or_else(|| {
                failure(format!("{} does not name a disk; restart the device", DiskRecord::PATH))
            })?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failure(format!("reading {}: {error}", DiskRecord::PATH))),
        };
        let partitions = match &record {
            Some(record) => partitions::recorded(sys, record, dev),
            None => partitions::find(
                sys,
                &fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
                dev,
            ),
        };
        let partitions = partitions.map_err(failure)?;
        let lacking =
            partitions::lacking(&partitions).filter(|_| command_line.booted != Booted::Recovery);
        if let Some(label) = lacking {
            return Err(failure(format!("the disk of this system has no partition {label:?}")));
        }
        let opener = Opener::default();
        Ok(Self {
            root: PathBuf::from("/"),
            is_real: true,
            partitions,
            record,
            command_line,
            opener,
        })
    }

    /// Returns a device laid out in `folder`. The folder holds files named like the partitions, the
    /// folders `etc`, `var` and `run`, and the file `cmdline`. Health checks also need `proc`.
    ///
    /// # Errors
    /// [`Exit::NotADevice`] when one of them is missing.
    pub fn at(folder: &Path) -> Result<Self, Failure> {
        let command_line = read_command_line(&folder.join("cmdline"))?;
        let mut partitions = Partitions::new();
        for label in label::ALL {
            let path = folder.join(label);
            // The agent itself does not need bios, recovery and var. Each file stands for a
            // partition, or is the block device itself.
            if path.exists() && !path.is_dir() {
                partitions.insert(label.to_owned(), path);
            }
        }
        let root = folder.to_path_buf();
        let opener = Opener::default();
        let device = Self { root, is_real: false, partitions, record: None, command_line, opener };
        for label in [label::ESP, "boot-a", "root-a", "boot-b", "root-b"] {
            device.partition(label)?;
        }
        Ok(device)
    }

    /// Returns the same device with another opener of its partitions. The power-cut sweep uses
    /// this.
    #[must_use]
    pub fn with_opener(self, opener: Opener) -> Self {
        Self { opener, ..self }
    }

    /// Returns true if the program runs on this machine. Only this machine can be rebooted.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.is_real
    }

    /// Returns the words that grub.cfg gave the kernel.
    #[must_use]
    pub fn command_line(&self) -> &CommandLine {
        &self.command_line
    }

    /// Returns the slot that runs.
    ///
    /// # Errors
    /// [`Exit::NotADevice`] in the recovery image, where no slot runs.
    pub fn running(&self) -> Result<Slot, Failure> {
        match self.command_line.booted {
            Booted::Slot(slot) => Ok(slot),
            Booted::Recovery => Err(Failure::new(
                Exit::NotADevice,
                "this is the recovery image, in which no slot runs; put a bundle on a USB stick \
                    instead",
            )),
        }
    }

    /// Returns the block device or file of the partition `label`.
    ///
    /// # Errors
    /// [`Exit::NotADevice`] when there is none.
    pub fn partition(&self, label: &str) -> Result<&Path, Failure> {
        self.partitions.get(label).map(PathBuf::as_path).ok_or_else(|| {
            let at = self.root.display();
            Failure::new(
                Exit::NotADevice,
                format!("looking for the partition {label:?} of {at}: the partition is missing"),
            )
        })
    }

    /// Returns the disk that GRUB started from, as daruma-init recorded it.
    pub(crate) fn disk_record(&self) -> Option<&DiskRecord> {
        self.record.as_ref()
    }

    /// Returns the paths of all partitions that the device has.
    pub(crate) fn partition_paths(&self) -> impl Iterator<Item = &Path> {
        self.partitions.values().map(PathBuf::as_path)
    }

    /// Returns an absolute path of the device, such as `/etc/daruma/daruma.toml`, as a path of this
    /// process.
    #[must_use]
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// Takes the lock that every change of the device needs. Does not wait.
    ///
    /// # Errors
    /// [`Exit::Locked`] when another process holds it.
    pub fn lock(&self) -> Result<Lock, Failure> {
        Lock::take(&self.path("/run/daruma/lock"))
    }

    /// Returns the boot environment, for reading and writing.
    ///
    /// # Errors
    /// [`Exit::Environment`] when the ESP cannot be opened or is not the FAT that it should be.
    pub fn environment(&self) -> Result<EnvStore<AnyDisk>, Failure> {
        self.open_environment(Access::Write)
    }

    /// Returns the boot environment, for reading only.
    ///
    /// # Errors
    /// Like [`Device::environment`].
    pub fn environment_read_only(&self) -> Result<EnvStore<AnyDisk>, Failure> {
        self.open_environment(Access::Read)
    }

    fn open_environment(&self, access: Access) -> Result<EnvStore<AnyDisk>, Failure> {
        let path = self.partition(label::ESP)?;
        let failure = |cause: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Environment,
                format!("opening the boot environment on {}: {cause}", path.display()),
            )
        };
        let disk = self.open(path, access).map_err(|error| failure(&error))?;
        EnvStore::open(disk).map_err(|error| failure(&error))
    }

    /// Opens the partition `path`, which [`Device::partition`] gave.
    pub(crate) fn open(&self, path: &Path, access: Access) -> std::io::Result<AnyDisk> {
        self.opener.open(path, access)
    }

    /// Returns the content of a slot, by the `slot.cfg` of its boot image.
    ///
    /// # Errors
    /// The cause, for one line: the slot is empty, or its boot image is damaged.
    pub fn slot_config(&self, slot: Slot) -> Result<SlotConfig, String> {
        let path = self.partition(slot.boot_label()).map_err(|failure| failure.message)?;
        let disk = self
            .open(path, Access::Look)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        SlotConfig::read(&disk, path)
    }
}

fn read_command_line(path: &Path) -> Result<CommandLine, Failure> {
    let failure = |cause: String| Failure::new(Exit::NotADevice, cause);
    let text = fs::read_to_string(path)
        .map_err(|error| failure(format!("reading {}: {error}", path.display())))?;
    CommandLine::parse(&text).ok_or_else(|| {
        failure(format!(
            "reading {}: daruma.slot= is missing; Daruma's GRUB script did not boot this machine",
            path.display()
        ))
    })
}
