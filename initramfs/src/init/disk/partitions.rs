//! Finds the disk that GRUB started from among those that have Daruma's partitions.
//!
//! [`grub_env::choose_disk`] decides between the disks. This file waits for the disk, and loads the
//! drivers that the hardware asks for. It leaves the result for the agent in [`DiskRecord::PATH`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use grub_env::{By, Candidate, Certainty, DiskRecord, Evidence, FactoryReset, Told, choose_disk};
use image_layout::{FileDisk, label};
use initramfs::wanted;

use crate::kernel::console;
use crate::kernel::drivers::{self, Drivers};
use crate::kernel::uevents::{Uevent, Uevents};
use crate::kernel::watchdog::Watchdog;

/// After this time a disk is enough if much speaks for it.
const LIKELY_FROM: Duration = Duration::from_secs(3);
/// After this time any disk is enough that GRUB may have started from.
const POSSIBLE_FROM: Duration = Duration::from_secs(15);
/// After this time the boot fails. Slow disks (USB, RAID controllers) have come by then.
const GIVE_UP: Duration = Duration::from_secs(30);

/// A disk with its labelled partitions.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct LabelledDisk {
    /// The kernel's name, such as `vda`.
    pub name: String,
    /// The kernel's `diskseq`. Two disks never have the same.
    sequence: String,
    /// The disk's path in sysfs without its name.
    place: String,
    is_removable: bool,
    /// Maps a label to a device name, such as `root-a` to `vda4`.
    pub partitions: BTreeMap<String, String>,
    /// The factory reset that the environment asks for, once the disk is chosen.
    pub reset: Option<FactoryReset>,
}

impl LabelledDisk {
    /// Returns the path of the disk's own device.
    pub(crate) fn whole(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Returns the path of the partition's device.
    pub(crate) fn device(&self, label: &str) -> Option<PathBuf> {
        self.partitions.get(label).map(|name| Path::new("/dev").join(name))
    }

    fn has(&self, labels: &[&str]) -> bool {
        labels.iter().all(|label| self.partitions.contains_key(*label))
    }

    fn of(parent: &Path, devices: &Path) -> Self {
        let read = |file: &str| {
            fs::read_to_string(parent.join(file)).unwrap_or_default().trim().to_owned()
        };
        let place =
            parent.strip_prefix(devices).unwrap_or(parent).parent().unwrap_or(Path::new(""));
        let place = if place.ends_with("block") { place.parent().unwrap_or(place) } else { place };
        let place = place.to_string_lossy().into_owned();
        Self {
            name: parent.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            sequence: read("diskseq"),
            // A disk in a USB case says that it is fixed.
            is_removable: read("removable") == "1" || place.contains("/usb"),
            place,
            partitions: BTreeMap::new(),
            reset: None,
        }
    }
}

/// Returns all disks with at least one partition of Daruma's. `sys` is where sysfs is mounted.
fn scan(sys: &Path) -> Vec<LabelledDisk> {
    let devices = fs::canonicalize(sys.join("devices")).unwrap_or_else(|_| sys.join("devices"));
    let mut disks: BTreeMap<PathBuf, LabelledDisk> = BTreeMap::new();
    for entry in fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten() {
        let Ok(uevent) = fs::read_to_string(entry.path().join("uevent")) else { continue };
        let value = |key| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let (Some(label), Some(device)) = (value("PARTNAME"), value("DEVNAME")) else { continue };
        if !label::ALL.contains(&label) {
            continue;
        }
        // A partition's directory lies in its disk's directory.
        let Ok(real) = fs::canonicalize(entry.path()) else { continue };
        let Some(parent) = real.parent() else { continue };
        let disk =
            disks.entry(parent.to_owned()).or_insert_with(|| LabelledDisk::of(parent, &devices));
        disk.partitions.entry(label.to_owned()).or_insert_with(|| device.to_owned());
    }
    disks.into_values().collect()
}

/// The disks that were found, and what their bytes say for them.
struct Search<'a> {
    told: &'a Told,
    /// Labels of the partitions that a boot cannot do without.
    needed: &'a [&'a str],
    seen: Vec<(LabelledDisk, Evidence)>,
}

impl Search<'_> {
    /// Looks at the disks that are there now. A disk that was there before is not read again.
    fn look(&mut self, sys: &Path, read: impl Fn(&LabelledDisk) -> Option<Evidence>) {
        let before = std::mem::take(&mut self.seen);
        for disk in scan(sys) {
            if !disk.has(self.needed) {
                continue;
            }
            let known =
                before.iter().find(|(seen, _)| *seen == disk).map(|(_, evidence)| evidence.clone());
            // A device node may come a moment later than its folder in sysfs. Then the next look
            // finds it.
            if let Some(evidence) = known.or_else(|| read(&disk)) {
                self.seen.push((disk, evidence));
            }
        }
    }

    /// Returns the disk to take after a wait of `waited`, and what decided. Returns `None` if no
    /// disk is to be taken yet.
    fn found(&self, waited: Duration) -> Option<(LabelledDisk, By)> {
        let enough = if waited >= POSSIBLE_FROM {
            Certainty::Possible
        } else if waited >= LIKELY_FROM {
            Certainty::Likely
        } else {
            Certainty::Sure
        };
        let candidate = |(disk, evidence): &(LabelledDisk, Evidence)| Candidate {
            place: disk.place.clone(),
            is_whole: disk.has(&label::ALL),
            is_removable: disk.is_removable,
            evidence: evidence.clone(),
        };
        let candidates: Vec<Candidate> = self.seen.iter().map(candidate).collect();
        let (index, by) = choose_disk(self.told, &candidates, enough)?;
        let (disk, evidence) = &self.seen[index];
        Some((LabelledDisk { reset: evidence.reset.clone(), ..disk.clone() }, by))
    }

    /// Returns what a person is told of the choice, if there is a choice.
    fn line(&self, taken: &LabelledDisk, by: By) -> Option<String> {
        let others =
            self.seen.iter().map(|(disk, _)| disk.name.as_str()).filter(|name| *name != taken.name);
        let others: Vec<&str> = others.collect();
        (!others.is_empty()).then(|| {
            let (count, name) = (self.seen.len(), &taken.name);
            let others = others.join(" and ") + if count == 2 { " is" } else { " are" };
            format!(
                "{count} disks have Daruma's partitions: {name} is taken, because {by}; {others} \
                    left alone"
            )
        })
    }
}

fn read_evidence(told: &Told, disk: &LabelledDisk) -> Option<Evidence> {
    let open = |path: PathBuf| FileDisk::open_read_only(&path).ok();
    let partition = |label: &str| disk.device(label).map(open);
    let esp = partition(label::ESP);
    let root = told.slot.and_then(|slot| partition(slot.root_label()));
    if [&esp, &root].iter().any(|opened| matches!(opened, Some(None))) {
        return None;
    }
    Some(Evidence::gather(told, &open(disk.whole())?, esp.flatten(), root.flatten()))
}

/// Finds the disk. Loads the drivers that the hardware asks for, and waits for disks that appear
/// late. `needed` are the labels that a boot cannot do without.
///
/// It tries the drivers in the order of [`wanted::DISK`], and stops as soon as the disk is there.
/// The real system loads the rest. A controller without disks may take a second to find that out.
pub(crate) fn wait(
    sys: &Path,
    told: &Told,
    needed: &[&str],
    uevents: &Uevents,
    drivers: &mut Drivers,
    watchdog: &Watchdog,
) -> Result<LabelledDisk> {
    let start = Instant::now();
    let mut search = Search { told, needed, seen: Vec::new() };
    let read = |disk: &LabelledDisk| read_evidence(told, disk);
    let modaliases = drivers::modaliases(sys);
    for name in wanted::DISK {
        watchdog.ping();
        if drivers.load_if_asked(name, &modaliases) {
            search.look(sys, read);
            if let Some((disk, by)) = search.found(Duration::ZERO) {
                return Ok(announce(&search, disk, by));
            }
        }
    }
    // The devices behind these drivers (a disk behind a USB controller) have announced themselves
    // since.
    loop {
        watchdog.ping();
        search.look(sys, read);
        let waited = start.elapsed();
        if let Some((disk, by)) = search.found(waited) {
            return Ok(announce(&search, disk, by));
        }
        if waited >= GIVE_UP {
            bail!(
                "waiting for the partitions {}: {}",
                needed.join(", "),
                describe(told, &scan(sys))
            );
        }
        // An event ends the wait. The second is for the times of patience above.
        match uevents.wait(Duration::from_secs(1))? {
            Some(Uevent::Added { modalias }) => {
                modalias.iter().for_each(|modalias| drivers.load_for(modalias));
            }
            Some(Uevent::Lost) => drivers.load_for_all(sys),
            Some(Uevent::Other) | None => {}
        }
    }
}

/// Says which disk it is if there are several. Writes the disk down for the agent. Without this
/// record the agent goes by the disk that carries /var, so a failure is no reason not to boot.
fn announce(search: &Search<'_>, disk: LabelledDisk, by: By) -> LabelledDisk {
    match search.line(&disk, by) {
        // The agent repeats a warning in the status.
        Some(line) if !by.is_proof() => console::warn(&line),
        Some(line) => console::loud(&line),
        None => {}
    }
    let (name, sequence, place) = (disk.name.clone(), disk.sequence.clone(), disk.place.clone());
    let record = DiskRecord { disk: name, sequence, place, by };
    if let Err(error) = fs::write(DiskRecord::PATH, record.to_text()) {
        // Half a record would keep the agent from starting.
        let _ = fs::remove_file(DiskRecord::PATH);
        console::warn(&format!("writing {}: {error}", DiskRecord::PATH));
    }
    disk
}

fn describe(told: &Told, disks: &[LabelledDisk]) -> String {
    if disks.is_empty() {
        return "no disk has any of Daruma's partitions; is its driver in the initramfs?"
            .to_owned();
    }
    let labels =
        |disk: &LabelledDisk| disk.partitions.keys().cloned().collect::<Vec<_>>().join(" ");
    let all = disks
        .iter()
        .map(|disk| format!("{} has {}", disk.name, labels(disk)))
        .collect::<Vec<_>>()
        .join("; ");
    match told.esp_guid {
        Some(guid) => {
            format!(
                "GRUB was started from the EFI system partition {guid}, which no disk has: {all}"
            )
        }
        None => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grub_env::Counted;
    use std::os::unix::fs::symlink;

    /// Adds a disk in sysfs's form.
    fn add_disk(sys: &Path, name: &str, removable: bool, labels: &[&str]) {
        let disk = sys.join("devices/pci0").join(name);
        fs::create_dir_all(&disk).unwrap();
        fs::create_dir_all(sys.join("class/block")).unwrap();
        fs::write(disk.join("removable"), if removable { "1\n" } else { "0\n" }).unwrap();
        fs::write(disk.join("uevent"), format!("MAJOR=254\nDEVNAME={name}\nDEVTYPE=disk\n"))
            .unwrap();
        symlink(&disk, sys.join("class/block").join(name)).unwrap();
        for (number, label) in labels.iter().enumerate() {
            let partition = format!("{name}{}", number + 1);
            let dir = disk.join(&partition);
            fs::create_dir(&dir).unwrap();
            let uevent = format!(
                "DEVNAME={partition}\nDEVTYPE=partition\nPARTN={}\nPARTNAME={label}\n",
                number + 1
            );
            fs::write(dir.join("uevent"), uevent).unwrap();
            symlink(&dir, sys.join("class/block").join(&partition)).unwrap();
        }
    }

    fn told() -> Told {
        Told {
            booted: Some("now".into()),
            slot: Some(image_layout::Slot::A),
            attempt: 1,
            ..Told::default()
        }
    }

    /// Returns the evidence for a disk on which GRUB has counted this boot, or has not.
    fn evidence(counted: Counted) -> Evidence {
        Evidence { is_named: None, counted, has_root: true, last_place: None, reset: None }
    }

    /// Returns the name of the disk that is taken. GRUB has counted on `started`.
    fn taken(sys: &Path, needed: &[&str], started: &str, waited: Duration) -> Option<String> {
        let told = told();
        let mut search = Search { told: &told, needed, seen: Vec::new() };
        let counted =
            |disk: &LabelledDisk| if disk.name == started { Counted::Exactly } else { Counted::No };
        search.look(sys, |disk| Some(evidence(counted(disk))));
        search.found(waited).map(|(disk, _)| disk.name)
    }

    #[test]
    fn a_disk_is_found_by_its_labels() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "sda", false, &["EFI", "linux"]);
        add_disk(sys.path(), "vda", false, &label::ALL);
        let disks = scan(sys.path());
        assert_eq!(disks.len(), 1);
        assert_eq!((disks[0].name.as_str(), disks[0].place.as_str()), ("vda", "pci0"));
        assert_eq!(disks[0].device("root-b"), Some("/dev/vda6".into()));
        assert_eq!(disks[0].device("linux"), None);
    }

    #[test]
    fn the_disk_that_grub_counted_on_is_taken_at_once_and_no_other_before_the_patience_ends() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "sda", false, &label::ALL);
        assert_eq!(taken(sys.path(), &["root-a"], "sdb", LIKELY_FROM), None);
        assert_eq!(taken(sys.path(), &["root-a"], "sdb", POSSIBLE_FROM).as_deref(), Some("sda"));
        add_disk(sys.path(), "sdb", true, &label::ALL);
        assert_eq!(taken(sys.path(), &["root-a"], "sdb", Duration::ZERO).as_deref(), Some("sdb"));
    }

    #[test]
    fn a_disk_that_lacks_what_the_boot_needs_is_never_taken() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "vda", false, &label::ALL[..7]);
        assert_eq!(taken(sys.path(), &["root-a"], "vda", Duration::ZERO).as_deref(), Some("vda"));
        assert_eq!(taken(sys.path(), &["var"], "vda", GIVE_UP), None);
        assert!(describe(&told(), &scan(sys.path())).starts_with("vda has bios boot-a"));
    }

    #[test]
    fn partitions_of_two_disks_do_not_make_one() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "vda", false, &label::ALL[..4]);
        add_disk(sys.path(), "vdb", false, &label::ALL[4..]);
        assert_eq!(taken(sys.path(), &["root-a", "var"], "vda", GIVE_UP), None);
    }

    #[test]
    fn a_disk_is_read_once_and_one_that_cannot_be_read_yet_is_asked_again() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "vda", false, &label::ALL);
        let (told, reads) = (told(), std::cell::Cell::new(0));
        let mut search = Search { told: &told, needed: &["root-a"], seen: Vec::new() };
        let mut look = |answer: Option<Evidence>| {
            search.look(sys.path(), |_| {
                reads.set(reads.get() + 1);
                answer.clone()
            });
            search.found(Duration::ZERO).is_some()
        };
        assert!(!look(None));
        assert!(look(Some(evidence(Counted::Exactly))));
        assert!(look(None));
        assert_eq!(reads.get(), 2);
    }

    #[test]
    fn a_person_is_told_which_of_several_disks_is_taken_and_why() {
        let sys = tempfile::tempdir().unwrap();
        add_disk(sys.path(), "vda", false, &label::ALL);
        let told = told();
        let mut search = Search { told: &told, needed: &["root-a"], seen: Vec::new() };
        search.look(sys.path(), |_| Some(evidence(Counted::No)));
        let (disk, by) = search.found(GIVE_UP).unwrap();
        assert_eq!((search.line(&disk, by), by), (None, By::RootHash));
        add_disk(sys.path(), "vdb", false, &label::ALL);
        search.look(sys.path(), |_| Some(evidence(Counted::No)));
        let (disk, by) = search.found(GIVE_UP).unwrap();
        assert_eq!(by, By::Nothing);
        let expected = "2 disks have Daruma's partitions: vda is taken, because nothing tells \
            them apart; vdb is left alone";
        assert_eq!(search.line(&disk, by).as_deref(), Some(expected));
        assert!(!by.is_proof());
    }
}
