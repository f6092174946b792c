//! GPT type GUIDs and attribute flags.
//!
//! `factory` puts them into the table. They follow the Discoverable Partitions Specification of the
//! UAPI group.

use uuid::{Uuid, uuid};

use crate::partition::label;

/// GRUB's own type: the BIOS boot partition. The core image lies there without a filesystem.
pub(crate) const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
/// EFI system partition (UEFI 2.10, table 5.7).
pub(crate) const ESP: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Extended boot loader partition: kernels for a boot loader that itself lies on the ESP.
pub(crate) const XBOOTLDR: Uuid = uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");
/// Root filesystem of x86-64.
pub(crate) const ROOT_X86_64: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
/// /var
pub(crate) const VAR: Uuid = uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d");

/// Bit 60: mount read-only.
const READ_ONLY: u64 = 1 << 60;
/// Bit 63: do not mount by type. Without it systemd takes the first root it sees for *the* root.
const NO_AUTO: u64 = 1 << 63;

/// Returns type GUID and attribute flags of the partition with this label.
pub(crate) fn of(label: &str) -> (Uuid, u64) {
    match label {
        label::BIOS => (BIOS_BOOT, 0),
        // The specification gives the ESP no no-auto flag, and systemd does not look at one.
        label::ESP => (ESP, 0),
        label::VAR => (VAR, NO_AUTO),
        "root-a" | "root-b" => (ROOT_X86_64, NO_AUTO | READ_ONLY),
        // boot-a, boot-b and recovery hold kernels, and GRUB on the ESP reads them.
        _ => (XBOOTLDR, NO_AUTO | READ_ONLY),
    }
}
