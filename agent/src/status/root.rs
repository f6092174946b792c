//! What was changed in the root of a system of which all can be written (`daruma.overlay=root`).
//!
//! daruma-init mounts the overlay (docs/operating.md), and `etc` has the changes of /etc. dpkg
//! writes a list of files for each package that it installs, so the lists in the upper name them.
//! Overlayfs marks what was removed by a character device 0, 0.

use std::fs::{self, DirEntry};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use image_layout::Slot;
use serde::Serialize;

use crate::device::Device;

/// Folders of which the changes are a person's, and stay over an update.
const KEPT: [&str; 6] = ["etc", "home", "opt", "root", "srv", "usr/local"];
/// The folder of dpkg's lists in an image.
const LISTS: &str = "usr/lib/sysimage/dpkg/info";
/// Most packages that the line names.
const NAMED: usize = 8;

/// What differs from the image, but for what stays over an update.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RootChanges {
    /// Packages that were installed, or that have another version, sorted.
    pub installed: Vec<String>,
    /// Packages that were removed, sorted.
    pub removed: Vec<String>,
    /// Files that are new, changed or deleted.
    pub files: usize,
}

impl RootChanges {
    /// Looks into the slot's upper of the root. `None`: the root is the image's alone, or nothing
    /// was changed.
    pub(crate) fn of(device: &Device, slot: Slot) -> Option<Self> {
        let table = fs::read_to_string(device.path("/proc/self/mountinfo")).ok()?;
        if !is_overlay(&table) {
            return None;
        }
        let upper = device.path(format!("/var/lib/daruma/root/{slot}/upper"));
        let mut changes = Self::default();
        for entry in fs::read_dir(upper.join(LISTS)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".list") else { continue };
            let name = name.split_once(':').map_or(name, |(name, _)| name).to_owned();
            if is_whiteout(&entry) {
                changes.removed.push(name);
            } else {
                changes.installed.push(name);
            }
        }
        changes.installed.sort();
        changes.removed.sort();
        changes.files = count(&upper, Path::new(""));
        (changes.files > 0).then_some(changes)
    }

    /// Returns the changes as one line.
    pub(crate) fn line(&self) -> String {
        let named = |what: &str, names: &[String]| {
            let more = names.len().saturating_sub(NAMED);
            let shown = names[..names.len() - more].join(", ");
            match (names.len(), more) {
                (0, _) => String::new(),
                (_, 0) => format!("{what} {shown}; "),
                _ => format!("{what} {shown} and {more} more; "),
            }
        };
        format!(
            "changed until the next update: {}{}{} files differ from the image",
            named("installed", &self.installed),
            named("removed", &self.removed),
            self.files
        )
    }
}

/// Whether the last mount on / in `/proc/self/mountinfo` is an overlay.
fn is_overlay(table: &str) -> bool {
    let root = table.lines().rev().find(|line| line.split(' ').nth(4) == Some("/"));
    root.is_some_and(|line| line.contains(" - overlay "))
}

/// Counts the files of a folder of the upper, dpkg's own files included.
fn count(upper: &Path, below: &Path) -> usize {
    let entries = fs::read_dir(upper.join(below)).into_iter().flatten().flatten();
    let files = entries.map(|entry| {
        let path = below.join(entry.file_name());
        match entry.file_type() {
            _ if KEPT.iter().any(|kept| path == Path::new(kept)) => 0,
            Ok(kind) if kind.is_dir() => count(upper, &path),
            _ => 1,
        }
    });
    files.sum()
}

fn is_whiteout(entry: &DirEntry) -> bool {
    let is_device = entry.file_type().is_ok_and(|kind| kind.is_char_device());
    is_device && entry.metadata().is_ok_and(|metadata| metadata.rdev() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_packages_and_counts_files() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let changes =
            RootChanges { installed: names(&["a", "b"]), removed: names(&["c"]), files: 3 };
        let line = "changed until the next update: installed a, b; removed c; 3 files differ from \
                    the image";
        assert_eq!(changes.line(), line);
        let many = RootChanges { installed: names(&["p"; 10]), files: 1, ..RootChanges::default() };
        assert!(many.line().contains("p, p and 2 more; 1 files"), "{}", many.line());
    }

    #[test]
    fn only_an_overlay_on_the_root_counts() {
        let overlay = "30 1 0:28 / / rw - overlay overlay rw,lowerdir=/daruma/image";
        assert!(is_overlay(&format!("20 1 254:0 / / ro - squashfs /dev/dm-0 ro\n{overlay}\n")));
        assert!(!is_overlay("20 1 254:0 / / ro - squashfs /dev/dm-0 ro\n"));
        assert!(!is_overlay(&overlay.replace(" / / rw", " / /etc rw")));
    }
}
