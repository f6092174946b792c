//! The EFI system partition: a FAT32 volume with the files that it is given.
//!
//! `factory` says which files they are, and `volume` hands out the clusters.
//!
//! The format follows Microsoft's *FAT32 File System Specification* 1.03. The crate `fatfs` 0.3.6
//! is not used: it gives `.` and `..` long names, and `..` the root's cluster. Firmware and GRUB do
//! not mind, but `fsck.fat -a` renames those entries, and a distribution may run it at boot. This
//! code also gives every file pages of the flash for itself, see [`FILE_CLUSTERS`].

use std::collections::BTreeMap;
use std::io;

use crate::fat::long_name::{FAT_ENTRY as ENTRY, LONGEST_FAT_NAME, long_name_entries, short_alias};
use crate::fat::volume::{ROOT, Volume};

/// Files start on multiples of 64 KiB from the start of the data. So a failing write to `grubenv`
/// damages neither `grubenv.bak` nor anything else. That also holds on media that rewrite 4 KiB
/// sectors or whole flash pages for the sake of 512 bytes.
const FILE_CLUSTERS: usize = 128;
/// The date of every entry: 1 January 1980, FAT's first day. A real time would tell nothing.
const FIRST_DAY: u16 = 0x0021;

/// A name as directory entries have it: eight and three characters, and which of the two are lower
/// case. A longer name has a short one that stands for it, and its own entries before that one.
///
/// The two case bits are Windows NT's. With them `grub/grubenv.bak` needs no long name.
#[derive(Clone, PartialEq, Eq)]
struct Name {
    upper: [u8; 11],
    case: u8,
    long: Vec<[u8; ENTRY]>,
}

impl Name {
    fn parse(name: &str) -> io::Result<Self> {
        if let Some((upper, case)) = short_form(name) {
            return Ok(Self { upper, case, long: Vec::new() });
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"*/:<>?\\|".contains(&byte);
        let dot = name.starts_with('.') || name.ends_with('.');
        if name.is_empty() || name.len() > LONGEST_FAT_NAME || dot || !name.bytes().all(plain) {
            return Err(io::Error::other(format!("a FAT cannot have the name {name:?}")));
        }
        let upper = short_alias(name, 0);
        Ok(Self { upper, case: 0, long: long_name_entries(name, &upper) })
    }
}

/// Returns the short form of a name and its case bits. None: it needs a long name.
fn short_form(name: &str) -> Option<([u8; 11], u8)> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    if base.is_empty() || base.len() > 8 || extension.len() > 3 || name.ends_with('.') {
        return None;
    }
    let mut upper = [b' '; 11];
    let mut case = 0;
    for (part, place, bit) in [(base, 0, 0x08), (extension, 8, 0x10)] {
        if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return None;
        }
        if part.bytes().any(|byte| byte.is_ascii_lowercase()) {
            case |= bit;
            if part.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return None;
            }
        }
        upper[place..place + part.len()].copy_from_slice(part.to_ascii_uppercase().as_bytes());
    }
    Some((upper, case))
}

/// Returns the bytes of a FAT32 volume of `size` bytes with these files. Makes their folders, and
/// the folders `empty`, which may lie in the root only.
///
/// # Errors
/// A name that a FAT cannot have, a name given twice, or files that do not fit.
pub(crate) fn format(
    size: u64,
    volume_id: u32,
    empty: &[&str],
    files: &[(&str, &[u8])],
) -> io::Result<Vec<u8>> {
    let mut volume = Volume::new(size, volume_id)?;
    // Each folder has the entries that it got so far, by its path. The root's path is empty.
    // BTreeMap puts a folder before what is in it.
    let mut folders: BTreeMap<&str, Vec<(Name, u32, u32)>> = BTreeMap::from([("", Vec::new())]);
    folders.extend(empty.iter().map(|path| (*path, Vec::new())));
    for (path, _) in files {
        for (slash, _) in path.match_indices('/') {
            folders.entry(&path[..slash]).or_default();
        }
    }
    let mut clusters = BTreeMap::from([("", ROOT)]);
    let paths: Vec<&str> = folders.keys().copied().collect();
    for &path in &paths {
        let files_in = files.iter().map(|(file, _)| *file);
        let folders_in = paths.iter().copied().filter(|folder| !folder.is_empty());
        let inside = files_in.chain(folders_in).map(parent_and_name);
        let names = inside.filter(|(parent, _)| *parent == path).map(|(_, name)| Name::parse(name));
        let entries: usize =
            names.map(|name| name.map(|name| 1 + name.long.len())).sum::<io::Result<_>>()?;
        let length = (2 + entries) * ENTRY;
        let cluster = volume.allocate(length, 1)?;
        clusters.insert(path, cluster);
        if !path.is_empty() {
            let (parent, name) = parent_and_name(path);
            add(&mut folders, parent, name, cluster, 0)?;
        }
    }
    for (path, content) in files {
        let cluster =
            if content.is_empty() { 0 } else { volume.allocate(content.len(), FILE_CLUSTERS)? };
        volume.write(cluster, content);
        let (parent, name) = parent_and_name(path);
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        add(&mut folders, parent, name, cluster, length)?;
    }
    for (path, entries) in &folders {
        let mut bytes = Vec::new();
        if !path.is_empty() {
            let parent = clusters[parent_and_name(path).0];
            // The entry has 0 for the root, whatever the root's cluster is.
            let parent = if parent == ROOT { 0 } else { parent };
            bytes.extend(entry(*b".          ", 0, clusters[path], 0, true));
            bytes.extend(entry(*b"..         ", 0, parent, 0, true));
        }
        for (name, cluster, length) in entries {
            let (cluster, length) = (*cluster, *length);
            let is_folder =
                clusters.iter().any(|(folder, &at)| !folder.is_empty() && at == cluster);
            name.long.iter().for_each(|part| bytes.extend(part));
            bytes.extend(entry(name.upper, name.case, cluster, length, is_folder));
        }
        volume.write(clusters[path], &bytes);
    }
    Ok(volume.finish())
}

fn parent_and_name(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn add<'a>(
    folders: &mut BTreeMap<&'a str, Vec<(Name, u32, u32)>>,
    parent: &'a str,
    name: &str,
    cluster: u32,
    length: u32,
) -> io::Result<()> {
    let name_on_disk = Name::parse(name)?;
    let entries = folders.entry(parent).or_default();
    if entries.iter().any(|(other, ..)| other.upper == name_on_disk.upper) {
        return Err(io::Error::other(format!("{parent}/{name} is given twice")));
    }
    entries.push((name_on_disk, cluster, length));
    Ok(())
}

fn entry(name: [u8; 11], case: u8, cluster: u32, length: u32, is_folder: bool) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..11].copy_from_slice(&name);
    bytes[11] = if is_folder { 0x10 } else { 0x20 };
    bytes[12] = case;
    for date in [16, 18, 24] {
        bytes[date..date + 2].copy_from_slice(&FIRST_DAY.to_le_bytes());
    }
    bytes[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    bytes[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    bytes[28..32].copy_from_slice(&length.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Write};

    use super::*;

    const SIZE: u64 = 36 << 20;

    #[test]
    fn fatfs_reads_every_file_and_can_add_one() {
        let long = vec![0xa5; 700_001];
        let many: Vec<String> = (0..40).map(|n| format!("many/deep/f{n}.txt")).collect();
        let mut files: Vec<(&str, &[u8])> =
            vec![("EFI/BOOT/BOOTX64.EFI", &long), ("grub/grubenv", b"x"), ("empty", b"")];
        let longest = format!("long/{}", "x".repeat(LONGEST_FAT_NAME));
        files.extend([("long/ssh.authorized_keys.root.cred", &b"k"[..]), (&longest, b"l")]);
        files.extend(many.iter().map(|path| (path.as_str(), path.as_bytes())));
        let mut disk = Cursor::new(format(SIZE, 7, &["credentials"], &files).unwrap());
        let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
        assert_eq!((volume.fat_type(), volume.volume_id()), (fatfs::FatType::Fat32, 7));
        let root = volume.root_dir();
        let read = |path: &str| {
            let mut content = Vec::new();
            root.open_file(path).unwrap().read_to_end(&mut content).unwrap();
            content
        };
        for (path, content) in &files {
            assert!(read(path) == *content, "{path}");
        }
        assert_eq!(root.open_dir("credentials").unwrap().iter().count(), 2, "only . and ..");
        root.create_file("grub/new").unwrap().write_all(b"healed").unwrap();
        assert_eq!(read("grub/new"), b"healed");
        assert_eq!(read("grub/grubenv"), b"x");
    }

    #[test]
    fn each_file_has_64_kib_for_itself() {
        let bytes = format(SIZE, 7, &[], &[("a/one", &[1; 1024]), ("a/two", &[2; 1024])]).unwrap();
        let at = |byte: u8| {
            bytes.windows(1024).position(|window| window.iter().all(|&b| b == byte)).unwrap()
        };
        assert!(at(2) - at(1) >= 64 << 10);
        assert_eq!((at(1) % 4096, at(2) % 4096), (0, 0));
    }

    #[test]
    fn names_and_sizes_that_fat_cannot_have_are_refused() {
        for name in
            ["", "grub/", "a b", "a:b", ".hidden", "dot.", "a\\b", "\u{fc}", &"n".repeat(256)]
        {
            assert!(format(SIZE, 7, &[], &[(name, b"")]).is_err(), "{name:?}");
        }
        assert!(format(SIZE, 7, &[], &[("a/b", b""), ("A/B", b"")]).is_err());
        assert!(
            format(SIZE, 7, &[], &[("a/b", b""), ("a/b", b"")])
                .unwrap_err()
                .to_string()
                .contains("a/b")
        );
        assert!(format(SIZE, 7, &[], &[("a", b""), ("a/b", b"")]).is_err());
        assert!(format(SIZE, 7, &[], &[("big", &vec![1; SIZE as usize])]).is_err());
        assert!(format(8 << 20, 7, &[], &[]).is_err());
    }
}
