//! Mounts the persistent partition. If that fails, mounts memory instead.
//!
//! The callers know what it holds. A device that cannot keep anything still boots, and reports it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use image_layout::{Disk as _, FileDisk, mend_torn_superblock};
use sys_mount::MountFlags;

use crate::kernel::{console, sys};
use crate::root::mounts::{self, Overlay};

/// What /var is in this boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum VarState {
    /// The partition, writable.
    Persistent,
    /// The partition read-only at [`DISK`], covered by memory.
    ReadOnly,
    /// Memory only.
    Memory,
}

/// Where the partition is mounted when it cannot be written.
pub(crate) const DISK: &str = "/daruma/var-disk";
/// Memory for the changes when the partition cannot be written.
pub(crate) const MEMORY: &str = "/daruma/var-memory";

/// Mounts /var at `at`. Without a usable partition the device must still boot, and this function
/// warns.
pub(crate) fn mount(device: Option<&Path>, at: &Path) -> Result<VarState> {
    let Some(device) = device else {
        console::warn(
            "the partition var is missing: /var is in memory, nothing is kept after this boot",
        );
        mounts::tmpfs(at)?;
        return Ok(VarState::Memory);
    };
    let Err(error) = mount_writable(device, at) else { return Ok(VarState::Persistent) };
    let device = device.display();
    // `noload` skips the journal: a journal that cannot be replayed is one reason to come here.
    let read_only = mounts::mount("ext4", device.to_string(), DISK, MountFlags::RDONLY, "noload");
    mounts::tmpfs(if read_only.is_ok() { Path::new(MEMORY) } else { at })?;
    if read_only.is_err() {
        console::warn(&format!(
            "mounting {device} on /var: {error:#}; /var is in memory, nothing is kept"
        ));
        return Ok(VarState::Memory);
    }
    console::warn(&format!(
        "mounting {device} on /var: {error:#}; it is read-only, changes are in memory"
    ));
    let memory = Path::new(MEMORY).join("var");
    let cover = Overlay {
        lower: vec![DISK.into()],
        upper: memory.join("upper"),
        work: memory.join("work"),
    };
    for dir in [&cover.upper, &cover.work] {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    cover.mount(at)?;
    Ok(VarState::ReadOnly)
}

/// Mounts the partition for writing. Mends its superblock if a power cut has torn it.
pub(crate) fn mount_writable(device: &Path, at: &Path) -> Result<()> {
    let writable = || mounts::mount("ext4", device, at, MountFlags::NOATIME, "errors=remount-ro");
    let mounted = writable();
    if mounted.is_err()
        && matches!(FileDisk::open(device).and_then(|disk| mend_torn_superblock(&disk)), Ok(true))
    {
        console::warn("/var's superblock was torn by a power cut and is mended");
        return writable();
    }
    mounted
}

/// Makes the partition table that of this disk. `var` then reaches the end of the disk. With
/// `new_guids`, disk and partitions get GUIDs of their own if they have those of the factory image.
pub(crate) fn settle_table(disk: &Path, new_guids: bool) -> Result<()> {
    let whole = FileDisk::open(disk).with_context(|| format!("opening {}", disk.display()))?;
    let mut random = random;
    let settled = image_layout::settle_table(&whole, new_guids.then_some(&mut random))
        .with_context(|| format!("settling the partition table of {}", disk.display()))?;
    if let Some(guid) = settled.disk_guid {
        console::say(&format!("the disk has a GUID of its own: {guid}"));
    }
    if let Some(new) = settled.grown {
        sys::resize_partition(whole.file(), new.number, new.offset, new.size)
            .context("telling the kernel that var has grown")?;
    }
    Ok(())
}

/// Returns random bytes. Waits until the kernel has gathered enough randomness.
pub(crate) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/random")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Grows the mounted ext4 to the end of its partition. A boot that was cut off may have moved that
/// end by [`settle_table`].
pub(crate) fn grow(partition: &Path, mounted: &Path) -> Result<()> {
    let device = FileDisk::open_read_only(partition)
        .with_context(|| format!("opening {}", partition.display()))?;
    let size = device.size()?;
    let mut superblock = [0; 1024];
    device.file().read_exact_at(&mut superblock, 1024).context("reading var's superblock")?;
    let (blocks, block_size) = ext4_size(&superblock);
    // Less than one block group is not worth growing. mke2fs leaves such a rest too. A file system
    // that a factory reset has made is small, and grows by less.
    let worth = (blocks / 4).min(32768);
    if size / block_size < blocks.saturating_add(worth) {
        return Ok(());
    }
    let directory = File::open(mounted)?;
    sys::resize_ext4(&directory, size / block_size).context("growing var's file system")?;
    console::say(&format!(
        "var has grown from {} to {} MiB",
        (blocks * block_size) >> 20,
        size >> 20
    ));
    Ok(())
}

/// Returns blocks and bytes a block (`Documentation/filesystems/ext4/super.rst`).
fn ext4_size(superblock: &[u8; 1024]) -> (u64, u64) {
    let field = |at: usize| {
        u64::from(u32::from_le_bytes([
            superblock[at],
            superblock[at + 1],
            superblock[at + 2],
            superblock[at + 3],
        ]))
    };
    let has_64_bits = field(0x60) & 0x80 != 0;
    let high = if has_64_bits { field(0x150) } else { 0 };
    ((high << 32) | field(0x04), 1024 << (field(0x18) & 7))
}
