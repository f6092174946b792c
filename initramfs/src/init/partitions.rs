//! Finds the disk that this device runs from, by its partitions' GPT labels.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use image_layout::label;
use initramfs::wanted;

use crate::console;
use crate::drivers::{self, Drivers};
use crate::uevents::{Uevent, Uevents};
use crate::watchdog::Watchdog;

/// From here on a removable disk will do. A stick in a device must not win against the disk inside.
const FIXED_FIRST: Duration = Duration::from_secs(3);
/// From here on a disk will do that has what a boot cannot do without.
const WHOLE_FIRST: Duration = Duration::from_secs(15);
/// Slow disks (USB, RAID controllers) have come by then.
const GIVE_UP: Duration = Duration::from_secs(30);

/// A disk with its labelled partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LabelledDisk {
    /// The kernel's name, such as `vda`.
    pub name: String,
    pub removable: bool,
    /// Label to device name, such as `root-a` to `vda4`.
    pub partitions: BTreeMap<String, String>,
}

impl LabelledDisk {
    /// Path of the partition's device.
    pub(crate) fn device(&self, label: &str) -> Option<PathBuf> {
        self.partitions.get(label).map(|name| Path::new("/dev").join(name))
    }

    fn has(&self, labels: &[&str]) -> bool {
        labels.iter().all(|label| self.partitions.contains_key(*label))
    }
}

/// All disks with at least one partition of ours; `sys` is where sysfs is mounted.
pub(crate) fn scan(sys: &Path) -> Vec<LabelledDisk> {
    let mut disks: BTreeMap<PathBuf, LabelledDisk> = BTreeMap::new();
    for entry in fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten() {
        let Ok(uevent) = fs::read_to_string(entry.path().join("uevent")) else { continue };
        let value = |key| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let (Some(label), Some(device)) = (value("PARTNAME"), value("DEVNAME")) else { continue };
        if !label::ALL.contains(&label) {
            continue;
        }
        // A partition's directory lies in its disk's.
        let Ok(real) = fs::canonicalize(entry.path()) else { continue };
        let Some(parent) = real.parent() else { continue };
        let disk = disks.entry(parent.to_owned()).or_insert_with(|| LabelledDisk {
            name: parent.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            removable: fs::read_to_string(parent.join("removable")).is_ok_and(|text| text.trim() == "1"),
            partitions: BTreeMap::new(),
        });
        disk.partitions.entry(label.to_owned()).or_insert_with(|| device.to_owned());
    }
    disks.into_values().collect()
}

/// The disk to take after having waited for `waited`, or none yet. `needed` are the labels without which there is
/// no boot.
pub(crate) fn choose<'a>(
    disks: &'a [LabelledDisk],
    needed: &[&str],
    waited: Duration,
) -> Option<&'a LabelledDisk> {
    let whole = || disks.iter().filter(|disk| disk.has(&label::ALL));
    let fixed = whole().find(|disk| !disk.removable);
    let removable = || whole().find(|_| waited >= FIXED_FIRST);
    let partial = || disks.iter().filter(|_| waited >= WHOLE_FIRST).find(|disk| disk.has(needed));
    fixed.or_else(removable).or_else(partial)
}

/// Finds the disk, loading the drivers that the hardware asks for, and waits for what appears late.
///
/// The drivers are tried in the order of [`wanted::DISK`], and not a second longer than until the disk is there: the
/// rest is the real system's business, and a controller without disks may take a second to find that out.
pub(crate) fn wait(
    sys: &Path,
    needed: &[&str],
    uevents: &Uevents,
    drivers: &mut Drivers,
    watchdog: &Watchdog,
) -> Result<LabelledDisk> {
    let start = Instant::now();
    let modaliases = drivers::modaliases(sys);
    for name in wanted::DISK {
        watchdog.ping();
        if drivers.load_if_asked(name, &modaliases)
            && let Some(disk) = choose(&scan(sys), needed, Duration::ZERO)
        {
            return Ok(disk.clone());
        }
    }
    // What these drivers bring (a disk behind a USB controller) has announced itself since.
    let mut seen = Vec::new();
    let mut stale = true;
    loop {
        watchdog.ping();
        if stale {
            seen = scan(sys);
        }
        let waited = start.elapsed();
        if let Some(disk) = choose(&seen, needed, waited) {
            let whole =
                || seen.iter().filter(|other| other.has(&label::ALL) && other.removable == disk.removable);
            if whole().count() > 1 {
                console::warn(&format!("several disks have Daruma's partitions; taking {}", disk.name));
            }
            return Ok(disk.clone());
        }
        if waited >= GIVE_UP {
            bail!("waiting for the partitions {}: {}", needed.join(", "), describe(&seen));
        }
        // An event wakes this up; the second is for the steps of patience above.
        match uevents.wait(Duration::from_secs(1))? {
            Some(Uevent::Added { modalias }) => {
                stale = modalias.is_none();
                modalias.iter().for_each(|modalias| drivers.load_for(modalias));
            }
            Some(Uevent::Lost) => {
                stale = true;
                drivers.load_for_all(sys);
            }
            Some(Uevent::Other) | None => stale = false,
        }
    }
}

fn describe(disks: &[LabelledDisk]) -> String {
    if disks.is_empty() {
        return "no disk has any of Daruma's partitions; is its driver in the initramfs?".to_owned();
    }
    let labels = |disk: &LabelledDisk| disk.partitions.keys().cloned().collect::<Vec<_>>().join(" ");
    disks.iter().map(|disk| format!("{} has only {}", disk.name, labels(disk))).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A disk in sysfs's form.
    fn add_disk(sys: &Path, name: &str, removable: bool, labels: &[&str]) {
        let disk = sys.join("devices/pci0").join(name);
        fs::create_dir_all(&disk).unwrap();
        fs::create_dir_all(sys.join("class/block")).unwrap();
        fs::write(disk.join("removable"), if removable { "1\n" } else { "0\n" }).unwrap();
        fs::write(disk.join("uevent"), format!("MAJOR=254\nDEVNAME={name}\nDEVTYPE=disk\n")).unwrap();
        symlink(&disk, sys.join("class/block").join(name)).unwrap();
        for (number, label) in labels.iter().enumerate() {
            let partition = format!("{name}{}", number + 1);
            let dir = disk.join(&partition);
            fs::create_dir(&dir).unwrap();
            let uevent =
                format!("DEVNAME={partition}\nDEVTYPE=partition\nPARTN={}\nPARTNAME={label}\n", number + 1);
            fs::write(dir.join("uevent"), uevent).unwrap();
            symlink(&dir, sys.join("class/block").join(&partition)).unwrap();
        }
    }

    #[test]
    fn a_disk_is_found_by_its_labels() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "sda", false, &["EFI", "linux"]);
        add_disk(sys.path(), "vda", false, &label::ALL);
        let disks = scan(sys.path());
        assert_eq!(disks.len(), 1);
        assert_eq!(disks[0].name, "vda");
        assert_eq!(disks[0].device("root-b"), Some("/dev/vda6".into()));
        assert_eq!(disks[0].device("linux"), None);
    }

    #[test]
    fn the_disk_inside_wins_against_a_stick_that_came_first() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "sda", true, &label::ALL);
        let stick_only = scan(sys.path());
        assert_eq!(choose(&stick_only, &["root-a"], Duration::ZERO), None);
        assert_eq!(choose(&stick_only, &["root-a"], FIXED_FIRST).unwrap().name, "sda");
        add_disk(sys.path(), "sdb", false, &label::ALL);
        let both = scan(sys.path());
        assert_eq!(choose(&both, &["root-a"], GIVE_UP).unwrap().name, "sdb");
    }

    #[test]
    fn a_disk_without_var_is_taken_when_nothing_better_came() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "vda", false, &label::ALL[..7]);
        let disks = scan(sys.path());
        assert_eq!(choose(&disks, &["root-a"], FIXED_FIRST), None);
        assert!(choose(&disks, &["root-a"], WHOLE_FIRST).is_some());
        assert_eq!(choose(&disks, &["var"], GIVE_UP), None);
        assert!(describe(&disks).starts_with("vda has only bios boot-a"));
    }

    #[test]
    fn partitions_of_two_disks_do_not_make_one() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "vda", false, &label::ALL[..4]);
        add_disk(sys.path(), "vdb", false, &label::ALL[4..]);
        assert_eq!(choose(&scan(sys.path()), &["root-a", "var"], GIVE_UP), None);
    }
}
