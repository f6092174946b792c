//! Finds the device's partitions by GPT label, all on one disk, and on the right disk.
//!
//! daruma-init finds the disk that GRUB started from, and records it in [`DiskRecord::PATH`]. A
//! second disk may have the same labels. Without a record, the disk with the mounted /var counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use grub_env::DiskRecord;
use image_layout::label;

/// The labels that every Daruma device has. The agent needs no bios partition. A device that has
/// lost /var must still be judged and updated.
const NEEDED: [&str; 5] = [label::ESP, "boot-a", "root-a", "boot-b", "root-b"];

/// Device nodes by label.
pub(crate) type Partitions = BTreeMap<String, PathBuf>;

/// Looks through `sys` (normally `/sys`) for the disk that holds Daruma's partitions. `mountinfo`
/// is the text of `/proc/self/mountinfo`; `dev` is normally `/dev`. Never guesses between two
/// disks. The error is the cause, for one line.
pub(crate) fn find(sys: &Path, mountinfo: &str, dev: &Path) -> Result<Partitions, String> {
    let mut disks: BTreeMap<PathBuf, Partitions> = BTreeMap::new();
    let mut var_disk = None;
    let var_number = mounted_number(mountinfo, "/var");
    let block = sys.join("class/block");
    let entries = fs::read_dir(&block).map_err(|error| format!("{}: {error}", block.display()))?;
    for entry in entries.flatten() {
        // The folder of a partition lies in the folder of its disk: .../sda/sda3.
        let Ok(folder) = entry.path().canonicalize() else { continue };
        let Ok(uevent) = fs::read_to_string(folder.join("uevent")) else { continue };
        let value =
            |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let (Some(name), Some(disk)) = (value("DEVNAME"), folder.parent()) else { continue };
        let number = format!("{}:{}", value("MAJOR").unwrap_or("-"), value("MINOR").unwrap_or("-"));
        if var_number.as_deref() == Some(number.as_str()) {
            var_disk = Some(disk.to_path_buf());
        }
        if let Some(label) = value("PARTNAME").filter(|label| label::ALL.contains(label)) {
            disks.entry(disk.to_path_buf()).or_default().insert(label.to_owned(), dev.join(name));
        }
    }
    let is_whole =
        |partitions: &Partitions| NEEDED.iter().all(|label| partitions.contains_key(*label));
    if let Some(partitions) = var_disk.and_then(|disk| disks.remove(&disk)) {
        return match lacking(&partitions) {
            None => Ok(partitions),
            Some(label) => Err(format!("the disk that carries /var has no partition {label:?}")),
        };
    }
    disks.retain(|_, partitions| is_whole(partitions));
    // A disk without var is taken only when no disk has var. daruma-init does the same.
    if disks.values().any(|partitions| partitions.contains_key(label::VAR)) {
        disks.retain(|_, partitions| partitions.contains_key(label::VAR));
    }
    match disks.len() {
        0 => Err("no disk has the partitions esp, boot-a, root-a, boot-b and root-b".to_owned()),
        1 => Ok(disks.into_values().next().unwrap_or_default()),
        count => Err(format!(
            "{count} disks have Daruma's partitions and /var lies on none; unplug all but one"
        )),
    }
}

/// Returns the partitions of the disk that daruma-init recorded: as many as it has. The error is
/// the cause, for one line.
pub(crate) fn recorded(sys: &Path, record: &DiskRecord, dev: &Path) -> Result<Partitions, String> {
    let DiskRecord { disk, sequence, .. } = record;
    let folder = sys.join("class/block").join(disk);
    let now = fs::read_to_string(folder.join("diskseq")).unwrap_or_default();
    if now.trim() != sequence {
        return Err(format!("the disk {disk}, from which this system was started, is missing"));
    }
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let labelled = entries.filter_map(|entry| {
        let uevent = fs::read_to_string(entry.path().join("uevent")).ok()?;
        let value =
            |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let label = value("PARTNAME").filter(|label| label::ALL.contains(label))?;
        Some((label.to_owned(), dev.join(value("DEVNAME")?)))
    });
    Ok(labelled.collect())
}

/// Returns the first needed label that `partitions` lacks.
pub(crate) fn lacking(partitions: &Partitions) -> Option<&'static str> {
    NEEDED.into_iter().find(|label| !partitions.contains_key(*label))
}

/// Returns the names of the disks other than `own` that have all needed partitions.
pub(crate) fn others(sys: &Path, own: &str) -> Vec<String> {
    let mut disks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten() {
        let Ok(folder) = entry.path().canonicalize() else { continue };
        let Ok(uevent) = fs::read_to_string(folder.join("uevent")) else { continue };
        let label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME="));
        let disk = folder
            .parent()
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned());
        if let (Some(label), Some(disk)) = (label, disk) {
            disks.entry(disk).or_default().push(label.to_owned());
        }
    }
    let has_all =
        |labels: &[String]| NEEDED.iter().all(|needed| labels.iter().any(|label| label == needed));
    disks
        .into_iter()
        .filter(|(disk, labels)| disk != own && has_all(labels))
        .map(|(disk, _)| disk)
        .collect()
}

/// Returns `major:minor` of the device that is mounted at `point`. Of several mounts the last one
/// is on top.
fn mounted_number(mountinfo: &str, point: &str) -> Option<String> {
    // proc(5): 36 35 98:0 /mnt1 /mnt2 rw,noatime ... - ext3 /dev/root rw
    mountinfo.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let number = fields.next()?;
        (fields.nth(1)? == point).then(|| number.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A `/sys` with one disk per letter, each with all eight partitions.
    fn sys_with(letters: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("class/block");
        fs::create_dir_all(&class).unwrap();
        for (disk_index, letter) in letters.chars().enumerate() {
            for (index, label) in label::ALL.iter().enumerate() {
                let name = format!("sd{letter}{}", index + 1);
                let folder = root.path().join(format!("devices/sd{letter}/{name}"));
                fs::create_dir_all(&folder).unwrap();
                let minor = disk_index * 16 + index + 1;
                let uevent = format!(
                    "MAJOR=8\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE=partition\nPARTNAME={label}\n"
                );
                fs::write(folder.join("uevent"), uevent).unwrap();
                symlink(&folder, class.join(&name)).unwrap();
            }
        }
        root
    }

    const VAR_ON_SDB: &str =
        "20 1 0:5 / /proc rw - proc proc rw\n25 1 8:24 / /var rw,noatime - ext4 /dev/sdb8 rw\n";

    #[test]
    fn the_disk_that_carries_var_is_taken() {
        let sys = sys_with("ab");
        let found = find(sys.path(), VAR_ON_SDB, Path::new("/dev")).unwrap();
        assert_eq!(found["root-b"], Path::new("/dev/sdb6"));
        assert_eq!(found.len(), 8);
    }

    #[test]
    fn the_only_disk_is_taken_even_without_var() {
        let sys = sys_with("a");
        assert_eq!(find(sys.path(), "", Path::new("/dev")).unwrap()["esp"], Path::new("/dev/sda2"));
    }

    #[test]
    fn a_disk_that_has_lost_var_is_taken_unless_there_is_a_whole_one() {
        let sys = sys_with("ab");
        fs::remove_dir_all(sys.path().join("devices/sda/sda8")).unwrap();
        assert_eq!(find(sys.path(), "", Path::new("/dev")).unwrap()["esp"], Path::new("/dev/sdb2"));
        fs::remove_dir_all(sys.path().join("devices/sdb")).unwrap();
        assert_eq!(find(sys.path(), "", Path::new("/dev")).unwrap()["esp"], Path::new("/dev/sda2"));
    }

    #[test]
    fn the_disk_that_daruma_init_recorded_is_taken_until_another_one_has_its_name() {
        let sys = sys_with("ab");
        for (disk, sequence) in [("sda", "3\n"), ("sdb", "4\n")] {
            symlink(
                sys.path().join("devices").join(disk),
                sys.path().join("class/block").join(disk),
            )
            .unwrap();
            fs::write(sys.path().join("devices").join(disk).join("diskseq"), sequence).unwrap();
        }
        let by = grub_env::By::Guid;
        let mut record =
            DiskRecord { disk: "sdb".into(), sequence: "4".into(), place: "pci/1".into(), by };
        let found = recorded(sys.path(), &record, Path::new("/dev")).unwrap();
        assert_eq!((found["esp"].as_path(), lacking(&found)), (Path::new("/dev/sdb2"), None));
        assert_eq!(others(sys.path(), "sdb"), ["sda"]);
        // It was pulled out, and what was plugged in later got its name.
        record.sequence = "2".into();
        assert!(recorded(sys.path(), &record, Path::new("/dev")).unwrap_err().contains("sdb"));
    }

    #[test]
    fn two_disks_without_var_are_refused() {
        let sys = sys_with("ab");
        assert!(find(sys.path(), "", Path::new("/dev")).unwrap_err().contains("2 disks"));
    }

    #[test]
    fn a_disk_that_lacks_a_partition_is_refused() {
        let sys = sys_with("b");
        let number = VAR_ON_SDB.replace("8:24", "8:8");
        fs::remove_dir_all(sys.path().join("devices/sdb/sdb6")).unwrap();
        assert!(find(sys.path(), &number, Path::new("/dev")).unwrap_err().contains("\"root-b\""));
        assert!(find(sys.path(), "", Path::new("/dev")).unwrap_err().contains("no disk"));
    }
}
