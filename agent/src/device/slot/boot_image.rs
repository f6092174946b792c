//! Checks the boot image of a slot as GRUB checks it.
//!
//! `bundle` reads the files of the image. The image has two lists of hashes: one for a boot of the
//! slot, one for recovery.

use std::path::Path;

use bundle::StoredSquashfs;
use image_layout::{Disk, FileDisk, Slot};
use sha2::{Digest, Sha256};

use crate::device::machine::Device;

/// The lists of hashes in a boot image: what a boot of the slot needs, and what recovery needs
/// besides.
const SUMS: [&str; 2] = ["SHA256SUMS", "RECOVERY.SHA256SUMS"];
/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// Checks that the slot holds a system: every file of its boot image matches its hash, and its root
/// image begins like one. dm-verity checks the rest of the root image when it runs.
///
/// # Errors
/// What is wrong, for one line.
pub(crate) fn is_whole(device: &Device, slot: Slot) -> Result<(), String> {
    let open = |label: &str| -> Result<FileDisk, String> {
        let path = device.partition(label).map_err(|failure| failure.message)?;
        FileDisk::open_read_only(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    // The exact cause helps nobody at a console.
    check(&open(slot.boot_label())?)
        .map_err(|_| "its boot image is damaged or empty".to_owned())?;
    let mut magic = [0; 4];
    open(slot.root_label())?
        .read_at(&mut magic, 0)
        .map_err(|error| format!("its root image cannot be read: {error}"))?;
    if &magic == b"hsqs" { Ok(()) } else { Err("its root image is damaged or empty".to_owned()) }
}

/// Compares every file that the lists name with its hash. Returns the image's length in bytes, up
/// to the end of its last file and its metadata.
///
/// # Errors
/// What is wrong, for one line.
pub(crate) fn check(disk: &impl Disk) -> Result<u64, String> {
    let files = StoredSquashfs::list(disk).map_err(|error| error.to_string())?;
    let mut checked = 0;
    for list in SUMS {
        let text = StoredSquashfs::read_file(disk, list).map_err(|error| error.to_string())?;
        for line in String::from_utf8_lossy(&text).lines() {
            let (sum, name) =
                line.split_once("  ").ok_or_else(|| format!("a line of {list} is no hash"))?;
            let file = files.iter().find(|file| file.name.as_str() == name);
            let file = file.ok_or_else(|| format!("it has no file {name}"))?;
            if hash(disk, file.offset, file.size)
                .map_err(|error| format!("reading {name}: {error}"))?
                != sum
            {
                return Err(format!("{name} does not match its hash"));
            }
            checked += 1;
        }
    }
    if checked < 3 {
        return Err("its lists of hashes are too short".to_owned());
    }
    length(disk).map_err(|error| format!("reading the superblock: {error}"))
}

/// Returns `bytes_used` of the superblock, in whole blocks of 4096 bytes.
fn length(disk: &impl Disk) -> std::io::Result<u64> {
    let mut used = [0; 8];
    disk.read_at(&mut used, 40)?;
    Ok(u64::from_le_bytes(used).next_multiple_of(4096))
}

fn hash(disk: &impl Disk, offset: u64, size: u64) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buf = vec![0; PIECE];
    let mut done = 0;
    while done < size {
        let count = usize::try_from(size - done).unwrap_or(PIECE).min(PIECE);
        disk.read_at(&mut buf[..count], offset + done)?;
        hash.update(&buf[..count]);
        done += count as u64;
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks the boot image at `path`, as [`check`] does.
pub(crate) fn check_at(path: &Path) -> Result<u64, String> {
    let disk = FileDisk::open_read_only(path).map_err(|error| error.to_string())?;
    check(&disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(files: &[(&str, &[u8])]) -> Vec<u8> {
        let line = |(name, bytes): &(&str, &[u8])| {
            let sum: String =
                Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{sum}  {name}\n")
        };
        files.iter().map(line).collect::<String>().into_bytes()
    }

    fn image(path: &Path, recovery_sums: Option<&[u8]>) {
        let (kernel, initrd, archive) = ([7_u8; 5000], [8_u8; 3000], [9_u8; 100]);
        let mut boot = StoredSquashfs::new();
        boot.add_bytes("vmlinuz", kernel.to_vec()).unwrap();
        boot.add_bytes("initrd", initrd.to_vec()).unwrap();
        boot.add_bytes("recovery.img", archive.to_vec()).unwrap();
        boot.add_bytes("SHA256SUMS", sums(&[("vmlinuz", &kernel), ("initrd", &initrd)])).unwrap();
        let own = sums(&[("recovery.img", &archive)]);
        boot.add_bytes("RECOVERY.SHA256SUMS", recovery_sums.map_or(own, <[u8]>::to_vec)).unwrap();
        boot.write_to(path).unwrap();
    }

    #[test]
    fn a_whole_image_is_as_long_as_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot");
        image(&path, None);
        assert_eq!(
            check_at(&path),
            Ok(std::fs::metadata(&path).unwrap().len().next_multiple_of(4096))
        );
    }

    #[test]
    fn every_flipped_byte_of_a_file_and_every_empty_list_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot");
        image(&path, None);
        let good = std::fs::read(&path).unwrap();
        let files = StoredSquashfs::list(&FileDisk::open_read_only(&path).unwrap()).unwrap();
        for file in files {
            for at in [file.offset, file.offset + file.size - 1] {
                let mut bytes = good.clone();
                bytes[at as usize] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
                assert!(check_at(&path).is_err(), "byte {at} of {}", file.name);
            }
        }
        for (list, reason) in
            [(&b""[..], "too short"), (b"hello\n", "no hash"), (b"00  recovery\n", "no file")]
        {
            image(&path, Some(list));
            let error = check_at(&path).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        std::fs::write(&path, vec![0x5a; 8192]).unwrap();
        assert!(check_at(&path).is_err());
    }
}
