//! Whether /var outlives this boot.
//!
//! daruma-init decides what /var is, and its warnings say why. This file only looks at the mounts.

use std::fs;

use image_layout::label;
use serde::Serialize;

use crate::device::Device;

/// What /var is in this boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Var {
    /// The partition, writable.
    Kept,
    /// The partition as it was last. Changes are in memory, or are refused.
    ReadOnly,
    /// Memory.
    Memory,
    /// Memory, because the disk has no partition `var`.
    Missing,
}

impl Var {
    /// Looks at the mount of /var. `None`: nothing is mounted there.
    pub(crate) fn of(device: &Device) -> Option<Self> {
        let table = fs::read_to_string(device.path("/proc/self/mountinfo")).ok()?;
        match Self::parse(&table)? {
            Self::Memory if device.partition(label::VAR).is_err() => Some(Self::Missing),
            var => Some(var),
        }
    }

    /// Reads `/proc/self/mountinfo`. A later line covers an earlier one.
    fn parse(table: &str) -> Option<Self> {
        let var = table.lines().rev().find(|line| line.split(' ').nth(4) == Some("/var"))?;
        let (mount, file_system) = var.split_once(" - ")?;
        let mut words = file_system.split(' ');
        let (kind, options) = (words.next()?, words.nth(1)?);
        let is_read_only = [mount.split(' ').nth(5)?, options]
            .iter()
            .any(|list| list.split(',').any(|o| o == "ro"));
        Some(match kind {
            "tmpfs" => Self::Memory,
            "overlay" => Self::ReadOnly,
            _ if is_read_only => Self::ReadOnly,
            _ => Self::Kept,
        })
    }

    /// Returns the word that a channel's server gets at each poll. `None`: all is well.
    #[cfg(feature = "pull")]
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Kept => None,
            Self::ReadOnly => Some("daruma-var/read-only"),
            Self::Memory => Some("daruma-var/memory"),
            Self::Missing => Some("daruma-var/missing"),
        }
    }

    /// Returns what a person should know, and the way out. `None`: all is well.
    pub(crate) fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Kept => None,
            Self::ReadOnly => Some(
                "is read-only, changes are lost at the next boot; 'daruma factory-reset' and a \
                 reboot make a new one, which is empty",
            ),
            Self::Memory => Some(
                "is in memory, nothing is kept after this boot; 'daruma factory-reset' and a \
                 reboot make a new one, which is empty",
            ),
            Self::Missing => Some("is in memory: the disk has no partition var"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_on_var_counts() {
        let table = |var: &str| format!("20 1 254:0 / / ro - squashfs /dev/dm-0 ro\n{var}\n");
        for (line, var) in [
            ("21 20 254:8 / /var rw,noatime - ext4 /dev/vda8 rw,errors=remount-ro", Var::Kept),
            ("21 20 254:8 / /var rw,noatime shared:3 - ext4 /dev/vda8 ro", Var::ReadOnly),
            ("21 20 254:8 / /var ro,noatime - ext4 /dev/vda8 rw", Var::ReadOnly),
            ("21 20 0:22 / /var rw - overlay overlay rw,lowerdir=/daruma/var-disk", Var::ReadOnly),
            ("21 20 0:22 / /var rw - tmpfs tmpfs rw,mode=755", Var::Memory),
            ("21 20 8:8 / /var rw - ext4 d rw\n22 21 0:9 / /var rw - tmpfs t rw", Var::Memory),
            ("21 20 8:8 / /var rw - ext4 d rw\n22 21 0:9 / /var/tmp rw - tmpfs t rw", Var::Kept),
        ] {
            assert_eq!(Var::parse(&table(line)), Some(var), "{line}");
        }
        assert_eq!(Var::parse(&table("21 20 0:5 / /proc rw - proc proc rw")), None);
        assert_eq!(Var::parse("/var"), None);
    }
}
