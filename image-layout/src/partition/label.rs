//! GPT partition labels, in the order in which the partitions lie on the disk (numbers 1 to 8).
//!
//! The callers know what a partition holds. GRUB finds partitions by these numbers, so the order
//! never changes.

/// GRUB's core image for BIOS.
pub const BIOS: &str = "bios";
/// EFI system partition: `EFI/BOOT/BOOTX64.EFI`, `grub/grub.cfg`, `grub/grubenv`,
/// `grub/grubenv.bak`.
pub const ESP: &str = "esp";
/// Recovery boot image, of the same form as a slot's.
pub const RECOVERY: &str = "recovery";
/// The persistent ext4.
pub const VAR: &str = "var";

/// All labels. A label's GPT partition number is its index plus one.
pub const ALL: [&str; 8] = [BIOS, ESP, "boot-a", "root-a", "boot-b", "root-b", RECOVERY, VAR];
