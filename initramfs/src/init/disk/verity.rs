//! dm-verity over a root partition, through `/dev/mapper/control`.
//!
//! The figures come from the command line. The layout follows `linux/dm-ioctl.h` and
//! `Documentation/admin-guide/device-mapper/verity.rst`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cmdline::Verity;
use crate::kernel::sys;

const DEV_CREATE: u8 = 3;
const DEV_REMOVE: u8 = 4;
const DEV_SUSPEND: u8 = 6;
const TABLE_LOAD: u8 = 9;
const READ_ONLY: u32 = 1;
/// Bytes of `struct dm_target_spec`.
const TARGET: usize = 40;
/// The name of the device that holds the running system.
pub(crate) const ROOT: &str = "daruma-root";

/// What the kernel does when it reads a block that does not match its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnCorruption {
    /// The read fails. As long as `daruma-init` runs, it can say what happened.
    Fail,
    /// The machine restarts, because half a system must not go on.
    Restart,
}

/// The open device.
pub(crate) struct VerityDevice {
    name: &'static str,
    control: File,
    /// `/dev/dm-N`
    pub path: PathBuf,
    partition: PathBuf,
    verity: Verity,
}

impl VerityDevice {
    /// Maps the partition. The kernel checks nothing yet: it checks each block when it reads it.
    pub(crate) fn open(name: &'static str, partition: &Path, verity: &Verity) -> Result<Self> {
        let control = open_control()?;
        let mut create = header(name, READ_ONLY);
        sys::device_mapper(&control, DEV_CREATE, &mut create)
            .context("creating the device-mapper device")?;
        let minor = minor_of(&create);
        let path = PathBuf::from(format!("/dev/dm-{minor}"));
        let device =
            Self { name, control, path, partition: partition.to_owned(), verity: verity.clone() };
        device.load(OnCorruption::Fail)?;
        Ok(device)
    }

    /// Makes a corrupt block restart the machine from now on.
    pub(crate) fn restart_on_corruption(&self) -> Result<()> {
        self.load(OnCorruption::Restart)
    }

    /// Removes the device. Nothing may be mounted from it.
    pub(crate) fn remove(&self) -> Result<()> {
        remove(self.name)
    }

    fn load(&self, on_corruption: OnCorruption) -> Result<()> {
        let parameters = parameters(&self.partition, &self.verity, on_corruption);
        let mut buffer = table(self.name, self.verity.data_blocks * 8, &parameters);
        sys::device_mapper(&self.control, TABLE_LOAD, &mut buffer).with_context(|| {
            format!("loading the dm-verity table of {}", self.partition.display())
        })?;
        // Without DM_SUSPEND_FLAG this means resume, and the kernel puts the loaded table in place.
        sys::device_mapper(&self.control, DEV_SUSPEND, &mut header(self.name, 0))
            .context("starting dm-verity")
    }
}

/// Removes the device. Nothing may be mounted from it.
///
/// # Errors
/// The device is in use.
pub(crate) fn remove(name: &str) -> Result<()> {
    let removed = sys::device_mapper(&open_control()?, DEV_REMOVE, &mut header(name, 0));
    removed.context("removing the dm-verity device")
}

fn open_control() -> Result<File> {
    let control = File::options().read(true).write(true).open("/dev/mapper/control");
    control.context("opening /dev/mapper/control")
}

/// Returns the table's line, without start and length.
fn parameters(partition: &Path, verity: &Verity, on_corruption: OnCorruption) -> String {
    let device = partition.display();
    let Verity { root_hash, salt, data_blocks } = verity;
    let options = match on_corruption {
        OnCorruption::Fail => "",
        OnCorruption::Restart => " 1 restart_on_corruption",
    };
    // The hash version is 1. Data and tree lie on one device, and the tree's first block comes
    // right after the data.
    format!(
        "1 {device} {device} 4096 4096 {data_blocks} {data_blocks} sha256 {root_hash} \
            {salt}{options}"
    )
}

/// Returns a `struct dm_ioctl` with the device's name. The call fills in the length.
fn header(name: &str, flags: u32) -> Vec<u8> {
    let mut bytes = vec![0; sys::DM_HEADER];
    for (at, value) in [(0, 4), (16, sys::DM_HEADER as u32), (28, flags)] {
        bytes[at..at + 4].copy_from_slice(&u32::to_ne_bytes(value));
    }
    bytes[48..48 + name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// Returns a header, followed by one `struct dm_target_spec` and its parameters.
fn table(name: &str, sectors: u64, parameters: &str) -> Vec<u8> {
    let mut bytes = header(name, READ_ONLY);
    bytes[20..24].copy_from_slice(&1_u32.to_ne_bytes()); // target_count
    let mut target = [0; TARGET];
    target[8..16].copy_from_slice(&sectors.to_ne_bytes());
    target[24..30].copy_from_slice(b"verity");
    bytes.extend_from_slice(&target);
    bytes.extend_from_slice(parameters.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// Returns the minor number in the kernel's 64-bit form (`huge_encode_dev`).
fn minor_of(header: &[u8]) -> u64 {
    let device =
        header[40..48].iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    (device & 0xff) | ((device >> 12) & 0xfff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verity() -> Verity {
        Verity { root_hash: "ab".repeat(32), salt: "cd".repeat(32), data_blocks: 1000 }
    }

    #[test]
    fn the_table_puts_the_tree_right_behind_the_data() {
        let text = parameters(Path::new("/dev/vda4"), &verity(), OnCorruption::Restart);
        let (hash, salt) = ("ab".repeat(32), "cd".repeat(32));
        let expected = format!(
            "1 /dev/vda4 /dev/vda4 4096 4096 1000 1000 sha256 {hash} {salt} 1 restart_on_corruption"
        );
        assert_eq!(text, expected);
        assert!(parameters(Path::new("/dev/vda4"), &verity(), OnCorruption::Fail).ends_with(&salt));
    }

    #[test]
    fn the_request_is_laid_out_as_the_kernel_reads_it() {
        let bytes = table(ROOT, 8000, "abc");
        assert_eq!(bytes.len(), 312 + 40 + 8);
        assert_eq!(bytes[..4], 4_u32.to_ne_bytes());
        assert_eq!(bytes[16..20], 312_u32.to_ne_bytes());
        assert_eq!(&bytes[48..60], b"daruma-root\0");
        assert_eq!(bytes[320..328], 8000_u64.to_ne_bytes());
        assert_eq!(&bytes[336..343], b"verity\0");
        assert_eq!(&bytes[352..], b"abc\0\0\0\0\0");
    }

    #[test]
    fn minors_beyond_255_are_decoded() {
        let mut bytes = header(ROOT, 0);
        bytes[40..48].copy_from_slice(&0x0010_fe03_u64.to_ne_bytes());
        assert_eq!(minor_of(&bytes), 0x103);
    }
}
