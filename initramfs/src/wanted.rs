//! What an initramfs needs by default: drivers of disks, file systems, watchdogs.
//!
//! `modules` finds what those need. A recipe may add to [`DISK`].

use crate::modules::ModuleTree;

/// Buses and disks. They are loaded only when a device asks for them by its `modalias`.
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

/// Modules that the processor's `modalias` asks for. With them dm-verity and ext4's checksums use
/// the processor's own instructions.
pub const CPU: &[&str] = &["sha256_ssse3", "crc32c_intel"];

/// Modules that file systems ask the kernel's crypto for by name. Nobody in the initramfs would
/// answer, so they are always loaded where the kernel has them as modules.
pub const CRYPTO: &[&str] = &["crc32c_generic"];

/// The file system of /var; always loaded. It takes as long as all the others.
pub const VAR: &[&str] = &["ext4"];

/// The modules that mount a slot's root; always loaded.
pub const ROOT: &[&str] = &["squashfs", "overlay", "dm_mod", "dm_verity"];

/// The modules that mounting a USB stick needs. They lie in the recovery archive only, because the
/// boot of a slot mounts no FAT.
pub const STICK: &[&str] =
    &["vfat", "exfat", "nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8"];

/// Watchdogs, the surest first. The first one that a device asks for is used, and the others are
/// not loaded. So `/dev/watchdog0` is the one that runs.
pub const WATCHDOG: &[&str] = &["i6300esb", "sp5100_tco", "wdat_wdt", "iTCO_wdt"];

/// Drivers that make the device of a watchdog appear.
pub const WATCHDOG_BUS: &[&str] = &["lpc_ich", "i2c_i801"];

/// Returns the modules of a slot's initramfs, for [`crate::modules::select`]. Modules that only
/// some hardware needs are left out if this kernel has no such module. A missing file system stays
/// in the list, so that `select` refuses.
#[must_use]
pub fn default_for(tree: &ModuleTree) -> Vec<&'static str> {
    let hardware = [DISK, CPU, CRYPTO, WATCHDOG, WATCHDOG_BUS].concat();
    let mut wanted: Vec<&str> = hardware.into_iter().filter(|name| tree.has(name)).collect();
    wanted.extend([VAR, ROOT].concat());
    wanted
}

/// Returns the modules of recovery: those of a slot, and [`STICK`] as far as this kernel has it.
#[must_use]
pub fn recovery_for(tree: &ModuleTree) -> Vec<&'static str> {
    let mut wanted = default_for(tree);
    wanted.extend(STICK.iter().filter(|name| tree.has(name)));
    wanted
}
