//! A mounted USB stick, its bundles, and the result that is written on it.
//!
//! `scan` finds the volume, and `offer` judges bundles. Nothing on a stick is trusted. The stick is
//! mounted read-only, without programs, devices or set-user-id. It is writable only while the
//! result is written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sys_mount::{Mount, MountFlags, UnmountFlags};

use crate::stick::volume::scan::Volume;

/// The file in the stick's root folder that tells what the device did.
pub(crate) const RESULT: &str = "daruma-result.txt";
/// Bytes of earlier results that stay in that file.
const EARLIER: u64 = 64 << 10;
/// Entries of the root folder that are read.
const ENTRIES: usize = 4096;
/// Bundles of one stick that are looked at.
const BUNDLES: usize = 32;
const STRICT: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// A mounted volume. Dropping it unmounts.
#[derive(Debug)]
pub(crate) struct Stick {
    pub(crate) volume: Volume,
    kind: &'static str,
    folder: PathBuf,
}

impl Stick {
    /// Mounts `volume` below `folder`. `None`: it has no file system that this program knows.
    pub(crate) fn mount(volume: &Volume, folder: &Path) -> io::Result<Option<Self>> {
        let path = volume.path();
        let Some(kind) = kind_of(&File::open(&path)?)? else { return Ok(None) };
        let folder = folder.join(&volume.name);
        fs::create_dir_all(&folder)?;
        // An open journal is left alone: nothing is written before the result is.
        let options = if kind == "ext4" { "noload" } else { "" };
        let mount = Mount::builder().fstype(kind).flags(STRICT | MountFlags::RDONLY);
        let mount = if options.is_empty() { mount } else { mount.data(options) };
        mount.mount(&path, &folder)?;
        Ok(Some(Self { volume: volume.clone(), kind, folder }))
    }

    /// Returns the kind of the stick's file system.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns where it is mounted.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the bundles in its root folder, by name, at most [`BUNDLES`].
    pub(crate) fn bundles(&self) -> io::Result<Vec<PathBuf>> {
        bundles_in(&self.folder)
    }

    /// Writes the result file.
    pub(crate) fn write_result(&self, text: &str) -> io::Result<()> {
        let path = self.volume.path();
        let again = |flags: MountFlags| {
            Mount::builder()
                .fstype(self.kind)
                .flags(STRICT | MountFlags::REMOUNT | flags)
                .mount(&path, &self.folder)
        };
        again(MountFlags::empty())?;
        let write = || -> io::Result<()> {
            let path = self.folder.join(RESULT);
            // One stick may have been in many devices.
            let mut earlier = Vec::new();
            if let Ok(file) = File::open(&path) {
                file.take(EARLIER).read_to_end(&mut earlier)?;
            }
            let mut file = File::create(path)?;
            file.write_all(&result_bytes(text, &earlier))?;
            file.sync_all()
        };
        let written = write();
        again(MountFlags::RDONLY)?;
        written
    }
}

/// Returns the new result, followed by the earlier ones. Lines end as Windows needs them.
fn result_bytes(text: &str, earlier: &[u8]) -> Vec<u8> {
    let mut bytes = text.replace('\n', "\r\n").into_bytes();
    if !earlier.is_empty() {
        bytes.extend(b"\r\n----------------------------------------\r\n\r\n");
        bytes.extend(earlier);
    }
    bytes
}

impl Drop for Stick {
    fn drop(&mut self) {
        // This works when the stick is gone or in use too: it detaches now and unmounts when nobody
        // uses it.
        let _ = sys_mount::unmount(&self.folder, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Lists regular files called `*.daruma`. Hidden files do not count, because macOS leaves `._name`
/// beside each file.
pub(crate) fn bundles_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)?
        .take(ENTRIES)
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            let is_bundle =
                name.len() > 7 && name[name.len() - 7..].eq_ignore_ascii_case(b".daruma");
            is_bundle
                && !name.starts_with(b".")
                && entry.file_type().is_ok_and(|kind| kind.is_file())
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.truncate(BUNDLES);
    Ok(found)
}

/// Returns the kind of file system, by its superblock: FAT (12, 16 or 32), exFAT, or ext2 to ext4.
fn kind_of(device: &File) -> io::Result<Option<&'static str>> {
    let mut first = [0; 2048];
    match device.read_exact_at(&mut first, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let is_boot_sector = first[510..512] == [0x55, 0xaa];
    Ok(if is_boot_sector && &first[3..11] == b"EXFAT   " {
        Some("exfat")
    } else if is_boot_sector && (&first[54..57] == b"FAT" || &first[82..87] == b"FAT32") {
        Some("vfat")
    } else if first[1080..1082] == [0x53, 0xef] {
        Some("ext4")
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bundles_in_the_root_folder_are_looked_at_and_not_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.daruma", "A.DARUMA", "._b.daruma", ".daruma", "readme.txt", "c.daruma.part"]
        {
            fs::write(path(name), "x").unwrap();
        }
        fs::create_dir(path("folder.daruma")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("link.daruma")).unwrap();
        assert_eq!(bundles_in(folder.path()).unwrap(), [path("A.DARUMA"), path("b.daruma")]);
        for number in 0..100 {
            fs::write(path(&format!("{number}.daruma")), "x").unwrap();
        }
        assert_eq!(bundles_in(folder.path()).unwrap().len(), BUNDLES);
    }

    #[test]
    fn the_newest_result_comes_first_and_earlier_ones_stay() {
        let first = result_bytes("one\n", b"");
        assert_eq!(first, b"one\r\n");
        let both = String::from_utf8(result_bytes("two\n", &first)).unwrap();
        assert!(
            both.starts_with("two\r\n\r\n---") && both.ends_with("-\r\n\r\none\r\n"),
            "{both:?}"
        );
    }

    #[test]
    fn file_systems_are_known_by_their_superblocks() {
        let folder = tempfile::tempdir().unwrap();
        let run = |words: &[&str], image: &Path| {
            let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
            let status = std::process::Command::new(words[0])
                .args(&words[1..])
                .arg(image)
                .env("PATH", path)
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert!(status.success(), "{words:?}");
        };
        for (size, command, kind) in [
            (1 << 20, vec!["mkfs.vfat", "-F", "12"], Some("vfat")),
            (16 << 20, vec!["mkfs.vfat", "-F", "16"], Some("vfat")),
            (64 << 20, vec!["mkfs.vfat", "-F", "32"], Some("vfat")),
            (16 << 20, vec!["mke2fs", "-q", "-t", "ext4"], Some("ext4")),
            (16 << 20, vec!["true"], None),
            (100, vec!["true"], None),
        ] {
            let image = folder.path().join("image");
            File::create(&image).unwrap().set_len(size).unwrap();
            run(&command, &image);
            assert_eq!(kind_of(&File::open(&image).unwrap()).unwrap(), kind, "{command:?}");
        }
        let mut exfat = vec![0; 4096];
        exfat[3..11].copy_from_slice(b"EXFAT   ");
        exfat[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::write(folder.path().join("image"), exfat).unwrap();
        assert_eq!(
            kind_of(&File::open(folder.path().join("image")).unwrap()).unwrap(),
            Some("exfat")
        );
    }
}
