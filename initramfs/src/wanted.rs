//! What an initramfs needs by default: drivers of disks, file systems, watchdogs.
//!
//! `modules` finds what those need. A recipe may add to [`DISK`].

use crate::modules::ModuleTree;

/// Buses and disks; loaded only when a device asks for them by its `modalias`.
pub const DISK: &[&str] = &[
    // virtual machines
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    // SATA, NVMe, old IDE
    "ahci",
    "ata_piix",
    "nvme",
    // USB: an appliance may boot from a stick, and recovery reads one
    "xhci_pci",
    "ehci_pci",
    "ohci_pci",
    "uhci_hcd",
    "usb_storage",
    "uas",
    // eMMC and SD cards
    "mmc_block",
    "sdhci_pci",
    "sdhci_acpi",
];

/// Asked for by the processor's `modalias`; with them dm-verity and ext4's checksums run on the
/// processor's own instructions.
pub const CPU: &[&str] = &["sha256_ssse3", "crc32c_intel"];

/// What file systems ask the kernel's crypto for by name, which nobody in the initramfs would
/// answer; always loaded where the kernel has it as a module.
pub const CRYPTO: &[&str] = &["crc32c_generic"];

/// The file system of /var; always loaded. It takes as long as all the others.
pub const VAR: &[&str] = &["ext4"];

/// What mounts a slot's root; always loaded.
pub const ROOT: &[&str] = &["squashfs", "overlay", "dm_mod", "dm_verity"];

/// What mounting a USB stick takes. They lie in the recovery archive only: a boot of a slot mounts
/// no FAT.
pub const STICK: &[&str] =
    &["vfat", "exfat", "nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8"];

/// Watchdogs, the surest first: the first one that a device asks for is used, and the others are
/// not loaded, so that `/dev/watchdog0` is the one that runs.
pub const WATCHDOG: &[&str] = &["i6300esb", "sp5100_tco", "wdat_wdt", "iTCO_wdt"];

/// Drivers that make the device of a watchdog appear.
pub const WATCHDOG_BUS: &[&str] = &["lpc_ich", "i2c_i801"];

/// What the initramfs of a slot has, for [`crate::modules::select`]. What only some hardware needs
/// is left out when this kernel has no such module; a missing file system is left in, so that
/// `select` refuses.
#[must_use]
pub fn default_for(tree: &ModuleTree) -> Vec<&'static str> {
    let hardware = [DISK, CPU, CRYPTO, WATCHDOG, WATCHDOG_BUS].concat();
    let mut wanted: Vec<&str> = hardware.into_iter().filter(|name| tree.has(name)).collect();
    wanted.extend([VAR, ROOT].concat());
    wanted
}

/// What recovery has: the same, and [`STICK`] as far as this kernel has it.
#[must_use]
pub fn recovery_for(tree: &ModuleTree) -> Vec<&'static str> {
    let mut wanted = default_for(tree);
    wanted.extend(STICK.iter().filter(|name| tree.has(name)));
    wanted
}
