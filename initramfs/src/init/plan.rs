//! Computes what a boot will do, from the command line and the disk.
//!
//! `execute` does it. The plan is plain data, so the tests compare it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use grub_env::FactoryReset;
use image_layout::{Slot, label};

use crate::cmdline::{Cmdline, OverlayMode, Verity};
use crate::disk::partitions::LabelledDisk;
use crate::root::cover::old_image::OldSlot;

/// The file system that becomes `/`.
pub(crate) const NEW_ROOT: &str = "/sysroot";
/// The root image, when an overlay covers all of it.
pub(crate) const IMAGE: &str = "/daruma/image";
/// The persistent partition, until it takes its place.
pub(crate) const VAR: &str = "/daruma/var";

/// One thing to do. Each step can fail, with one readable reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Empties /var, because a person asked for a factory reset.
    ResetVar { var: PathBuf, reset: FactoryReset },
    /// Takes the request for the reset back. /var is mounted and has its size by then: until it has
    /// grown, it has no backup of its superblock, and only another reset could mend it.
    EndReset { esp: PathBuf },
    /// Says that a factory reset waits for the end of this slot's trial.
    PostponeReset,
    /// Mounts /var at [`VAR`]. Without a device, or if the device cannot be mounted, /var is
    /// memory.
    MountVar { device: Option<PathBuf> },
    /// Makes the partition table that of this disk, and lets /var fill it. Gives new GUIDs only
    /// where GRUB tells the disk by them. The GRUB script of an older device does not.
    SettleDisk { disk: PathBuf, new_guids: bool },
    /// Maps the root partition through dm-verity.
    OpenRoot { label: &'static str, partition: PathBuf, verity: Verity },
    /// Mounts the image.
    MountRoot { label: &'static str, at: &'static str },
    /// Copies from the image's /var what the partition does not have.
    FillVar { image: &'static str },
    /// Covers the whole image with the slot's upper.
    CoverRoot { slot: Slot },
    /// Covers the whole image with memory.
    CoverRootWithMemory,
    /// Moves /var to its place.
    PlaceVar,
    /// Covers /etc with the slot's upper. A new upper is merged with the image of the other slot,
    /// if that has its partitions.
    CoverEtc { slot: Slot, old: Option<OldSlot> },
    /// Gives the files in /var to the accounts' numbers of this system.
    SettleOwners { slot: Slot },
    /// Covers /home and the other folders of a person, which belong to both slots.
    CoverFolders,
    /// From here on a corrupt block restarts the machine.
    Guard,
    /// Copies the credentials on the EFI system partition to where systemd takes them over.
    HandOverCredentials { esp: PathBuf },
    /// Hands over to the real init.
    Start { init: PathBuf },
}

/// The steps in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub slot: Slot,
    /// Identifies the system, for uppers and /var.
    pub root_hash: String,
    pub steps: Vec<Step>,
}

impl Plan {
    /// Returns the plan that boots a slot. /var comes first, so that a later failure can be written
    /// down there.
    pub(crate) fn new(line: &Cmdline, slot: Slot, disk: &LabelledDisk) -> Result<Self> {
        let verity = line.verity.clone();
        let verity = verity.context(
            "reading the kernel command line: daruma.verity=ROOTHASH:SALT:BLOCKS is missing",
        )?;
        let root_hash = verity.root_hash.clone();
        let label = slot.root_label();
        let partition =
            disk.device(label).with_context(|| format!("looking for {label} on {}", disk.name))?;
        let covered = matches!(line.overlay, OverlayMode::Root | OverlayMode::Tmpfs);
        let image = if covered { IMAGE } else { NEW_ROOT };

        let mut steps = Vec::new();
        let (esp, var) = (disk.device(label::ESP), disk.device(label::VAR));
        let reset = match (&disk.reset, esp, &var) {
            // The other slot's settings are the only proven ones.
            (Some(_), ..) if line.trial => {
                steps.push(Step::PostponeReset);
                None
            }
            (Some(reset), Some(esp), Some(var)) => {
                steps.push(Step::ResetVar { var: var.clone(), reset: reset.clone() });
                Some(esp)
            }
            _ => None,
        };
        steps.push(Step::MountVar { device: var.clone() });
        if var.is_some() {
            steps.push(Step::SettleDisk { disk: disk.whole(), new_guids: line.disk.is_some() });
        }
        steps.extend(reset.map(|esp| Step::EndReset { esp }));
        steps.push(Step::OpenRoot { label, partition, verity });
        steps.push(Step::MountRoot { label, at: image });
        steps.push(Step::FillVar { image });
        match line.overlay {
            OverlayMode::Root => steps.push(Step::CoverRoot { slot }),
            OverlayMode::Tmpfs => steps.push(Step::CoverRootWithMemory),
            OverlayMode::Etc | OverlayMode::None => {}
        }
        if line.overlay == OverlayMode::Etc {
            let (boot, root) =
                (disk.device((!slot).boot_label()), disk.device((!slot).root_label()));
            let old = boot.zip(root).map(|(boot, root)| OldSlot { boot, root });
            steps.push(Step::CoverEtc { slot, old });
            steps.push(Step::SettleOwners { slot });
            // /etc comes first: its fstab says which of them the system mounts itself.
            steps.push(Step::CoverFolders);
        }
        steps.push(Step::PlaceVar);
        steps.extend(disk.device(label::ESP).map(|esp| Step::HandOverCredentials { esp }));
        steps.extend([Step::Guard, Step::Start { init: line.init.clone() }]);
        Ok(Self { slot, root_hash, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(labels: &[&str]) -> LabelledDisk {
        let name = |label: &&str| label::ALL.iter().position(|other| other == label).unwrap() + 1;
        let partitions = labels
            .iter()
            .map(|label| ((*label).to_owned(), format!("vda{}", name(label))))
            .collect();
        let mut disk = LabelledDisk::default();
        (disk.name, disk.partitions) = ("vda".into(), partitions);
        disk
    }

    /// Returns the plan's steps in words.
    fn steps(arguments: &str, disk: &LabelledDisk) -> Vec<String> {
        let hash = "00".repeat(32);
        let line = Cmdline::parse(&format!("daruma.slot=B daruma.verity={hash}:00:8 {arguments}"))
            .unwrap();
        let plan = Plan::new(&line, Slot::B, disk).unwrap();
        assert_eq!(plan.root_hash, hash);
        let word = |step: &Step| match step {
            Step::ResetVar { var, reset } => {
                format!("reset {}, keep {:?}", var.display(), reset.keep())
            }
            Step::EndReset { esp } => format!("end the reset on {}", esp.display()),
            Step::PostponeReset => "reset later".to_owned(),
            Step::MountVar { device: Some(device) } => format!("var {}", device.display()),
            Step::MountVar { device: None } => "var in memory".to_owned(),
            Step::SettleDisk { disk, new_guids: true } => {
                format!("name and grow {}", disk.display())
            }
            Step::SettleDisk { disk, new_guids: false } => format!("grow {}", disk.display()),
            Step::OpenRoot { label, partition, .. } => {
                format!("open {label} {}", partition.display())
            }
            Step::MountRoot { at, .. } => format!("image {at}"),
            Step::FillVar { image } => format!("fill from {image}"),
            Step::CoverRoot { slot } => format!("root over {slot}"),
            Step::CoverRootWithMemory => "root over memory".to_owned(),
            Step::PlaceVar => "place var".to_owned(),
            Step::CoverEtc { slot, old: Some(old) } => {
                format!("etc over {slot}, from {} and {}", old.boot.display(), old.root.display())
            }
            Step::CoverEtc { slot, old: None } => format!("etc over {slot}"),
            Step::SettleOwners { slot } => format!("owners of {slot}"),
            Step::CoverFolders => "folders".to_owned(),
            Step::Guard => "guard".to_owned(),
            Step::HandOverCredentials { esp } => format!("credentials of {}", esp.display()),
            Step::Start { init } => format!("start {}", init.display()),
        };
        plan.steps.iter().map(word).collect()
    }

    #[test]
    fn every_mode_has_its_plan() {
        let disk = disk(&label::ALL);
        for (mode, image, cover) in [
            ("none", "/sysroot", &[][..]),
            (
                "etc",
                "/sysroot",
                &["etc over B, from /dev/vda3 and /dev/vda4", "owners of B", "folders"],
            ),
            ("root", "/daruma/image", &["root over B"]),
            ("tmpfs", "/daruma/image", &["root over memory"]),
        ] {
            let mut expected = vec![
                "var /dev/vda8".to_owned(),
                "grow /dev/vda".into(),
                "open root-b /dev/vda6".into(),
            ];
            expected.extend([format!("image {image}"), format!("fill from {image}")]);
            expected.extend(cover.iter().map(|step| (*step).to_owned()));
            expected.extend(["place var".to_owned(), "guard".into(), "start /sbin/init".into()]);
            expected.insert(expected.len() - 2, "credentials of /dev/vda2".into());
            assert_eq!(steps(&format!("daruma.overlay={mode}"), &disk), expected, "{mode}");
        }
    }

    #[test]
    fn a_disk_that_grub_names_gets_guids_of_its_own() {
        let disk = disk(&label::ALL);
        let named = steps("daruma.disk=da12da12-0000-4000-8000-000000000002", &disk);
        assert_eq!(named[1], "name and grow /dev/vda");
    }

    #[test]
    fn a_factory_reset_comes_before_all_else_and_not_on_trial() {
        let mut disk = disk(&label::ALL);
        disk.reset = Some(FactoryReset::new(&["lib/app"]).unwrap());
        let asked = steps("", &disk);
        let (reset, end) = ("reset /dev/vda8, keep [\"lib/app\"]", "end the reset on /dev/vda2");
        assert_eq!(asked[..4], [reset, "var /dev/vda8", "grow /dev/vda", end]);
        assert_eq!(steps("daruma.trial=1", &disk)[..2], ["reset later", "var /dev/vda8"]);
    }

    #[test]
    fn without_var_it_boots_from_memory() {
        let steps = steps("", &disk(&["esp", "root-b"]));
        assert_eq!(steps[..2], ["var in memory", "open root-b /dev/vda6"]);
    }

    #[test]
    fn without_the_slots_partition_or_its_hash_there_is_no_plan() {
        let line = Cmdline::parse("daruma.slot=B").unwrap();
        let error = Plan::new(&line, Slot::B, &disk(&label::ALL)).unwrap_err();
        assert!(error.to_string().contains("daruma.verity"), "{error}");
        let line = Cmdline {
            verity: Some(crate::cmdline::Verity {
                root_hash: "0".repeat(64),
                salt: "00".into(),
                data_blocks: 1,
            }),
            ..line
        };
        let error = Plan::new(&line, Slot::B, &disk(&["root-a"])).unwrap_err();
        assert!(error.to_string().contains("root-b"), "{error}");
    }
}
