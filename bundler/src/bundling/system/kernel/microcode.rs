//! Takes microcode out of the tree, and makes the archive that the kernel reads before all else.
//!
//! Debian's packages bring the files, and `initramfs::archive` writes the archive.
//!
//! The kernel looks for the microcode of the first processor before it can unpack anything. So the
//! archive is not compressed, and it is the first in the file of the initramfs (Linux
//! `Documentation/arch/x86/microcode.rst`). In it lies one file a vendor. The files of the package
//! follow each other there.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use initramfs::archive::Archive;
use sha2::{Digest as _, Sha256};

use crate::bundling::tree::{Kind, Tree, glob};
use crate::recipe::{Place, Vendor};

/// What a vendor's microcode is called.
struct Names {
    /// Debian's package.
    package: &'static str,
    /// The folder of its files.
    folder: &'static str,
    /// Patterns of the files' names. Other files are signatures and texts.
    files: &'static [&'static str],
    /// The file in the archive.
    target: &'static str,
    /// Checks the content of a file.
    is_whole: fn(&[u8]) -> bool,
}

/// The update files are named after family, model and stepping. Debian gives the ending to those
/// that a running system must not load.
const INTEL: Names = Names {
    package: "intel-microcode",
    folder: "usr/lib/firmware/intel-ucode",
    files: &["??-??-??", "??-??-??.initramfs"],
    target: "kernel/x86/microcode/GenuineIntel.bin",
    is_whole: is_intel,
};
const AMD: Names = Names {
    package: "amd64-microcode",
    folder: "usr/lib/firmware/amd-ucode",
    files: &["microcode_amd*.bin"],
    target: "kernel/x86/microcode/AuthenticAMD.bin",
    is_whole: is_amd,
};

/// Takes the microcode of these vendors out of the tree. Returns the archive. `None`: the recipe
/// asks for no microcode.
///
/// # Errors
/// The tree has no microcode of a vendor, or a file of it is damaged.
pub fn take(tree: &mut Tree, wanted: &[(Vendor, Place)], epoch: u32) -> Result<Option<Vec<u8>>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut archive = Archive::new(epoch.into())?;
    for vendor in [Vendor::Intel, Vendor::Amd] {
        let Some((_, place)) = wanted.iter().find(|(other, _)| *other == vendor) else { continue };
        let names = match vendor {
            Vendor::Intel => &INTEL,
            Vendor::Amd => &AMD,
        };
        let content = joined(tree, names)?;
        if content.is_empty() {
            bail!(place.error(format_args!(
                "`microcode` asks for {}, and the root filesystem has no /{}; add the package {} \
                    to `apt`, and non-free-firmware to `components` of `mmdebstrap`",
                vendor.name(),
                names.folder,
                names.package
            )));
        }
        archive.aligned_file(names.target, 0o644, &content)?;
        tree.remove(names.folder);
    }
    Ok(Some(archive.finish()?))
}

/// Returns the content of all files of a vendor, one behind the other, each content once.
fn joined(tree: &Tree, names: &Names) -> Result<Vec<u8>> {
    let (mut joined, mut seen) = (Vec::new(), BTreeSet::new());
    for path in tree.below(names.folder) {
        let name = &path[names.folder.len() + 1..];
        let is_file = tree.get(path).is_some_and(|inode| matches!(inode.kind, Kind::File(_)));
        if !is_file || !names.files.iter().any(|pattern| glob::matches(pattern, name)) {
            continue;
        }
        let content = tree.read(path)?;
        ensure!(
            (names.is_whole)(&content),
            "/{path} of the root filesystem is damaged: it is no microcode; get the package {} \
                again",
            names.package
        );
        if seen.insert(Sha256::digest(&content)) {
            joined.extend(content);
        }
    }
    Ok(joined)
}

/// Whether a file is a row of whole updates (Intel's manual, volume 3, "Microcode update
/// facilities"). Numbers are little-endian, 32 bits: at 0 the version of the header, at 28 and 32
/// the sizes of data and of the whole update. A data size of 0 means 2000 bytes of 2048. The sum
/// of all numbers of an update is 0.
fn is_intel(mut file: &[u8]) -> bool {
    let is_empty = file.is_empty();
    while !file.is_empty() {
        let Some(size) = intel_size(file).filter(|size| *size <= file.len()) else { return false };
        let (update, rest) = file.split_at(size);
        let sum = update.chunks_exact(4).filter_map(number).fold(0, u32::wrapping_add);
        if sum != 0 {
            return false;
        }
        file = rest;
    }
    !is_empty
}

fn intel_size(update: &[u8]) -> Option<usize> {
    let at = |at: usize| number(update.get(at..at + 4)?);
    let size = if at(28)? == 0 { 2048 } else { at(32)? as usize };
    (at(0)? == 1 && size >= 1024 && size.is_multiple_of(4)).then_some(size)
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Whether a file begins as AMD's containers do: "DMA" and a NUL (Linux
/// `arch/x86/kernel/cpu/microcode/amd.c`).
fn is_amd(file: &[u8]) -> bool {
    file.starts_with(b"DMA\0")
}
