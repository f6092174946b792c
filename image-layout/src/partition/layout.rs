//! Sizes of the partitions, and where that puts each of them.
//!
//! `gpt` writes the table. All sizes are bytes. `var` is the last partition, so that it can grow.

use crate::PartitionTable;
use crate::partition::label;

/// Partitions start and end on multiples of this many bytes (1 MiB). Every eMMC erase block, SSD
/// page and RAID stripe in common use divides it.
pub const ALIGNMENT: u64 = 1 << 20;

/// Size in bytes of the BIOS boot partition. A core image is about 200 kB and GRUB's own limit is
/// 458,240 bytes.
const BIOS_SIZE: u64 = ALIGNMENT;
/// Below this size a FAT with 512-byte clusters has too few of them (65,525) to be FAT32. The UEFI
/// specification (2.10, 13.3) promises FAT12 and FAT16 for removable media only.
const ESP_MIN: u64 = 36 << 20;
/// A larger ESP has no use, and the volume is formatted in memory.
const ESP_MAX: u64 = 256 << 20;
/// Room for an ext4 with a journal and `/var/lib/daruma`.
const VAR_MIN: u64 = 16 << 20;
/// No partition is larger than 8 TiB. Beyond that size the offsets in 32-bit BIOS calls are not
/// trustworthy.
const SIZE_MAX: u64 = 8 << 40;

/// Sizes in bytes of the partitions whose size is a choice. Both slots have the same sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// EFI system partition (FAT32)
    pub esp: u64,
    /// `boot-a` and `boot-b`, each
    pub boot: u64,
    /// `root-a` and `root-b`, each: the root filesystem with its dm-verity tree
    pub root: u64,
    /// Recovery boot image
    pub recovery: u64,
    /// The persistent partition as the factory image has it. It grows on the first boot
    pub var: u64,
}

impl Default for Layout {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self { esp: 40 * MIB, boot: 64 * MIB, root: 512 * MIB, recovery: 64 * MIB, var: 256 * MIB }
    }
}

/// Where one partition lies, in bytes from the start of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// GPT partition label, one of [`label::ALL`]
    pub label: &'static str,
    /// First byte
    pub offset: u64,
    /// Length in bytes
    pub size: u64,
}

/// A size that the layout cannot have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("partition {label} cannot be {size} bytes: {reason}; use {remedy} bytes")]
pub struct LayoutError {
    /// The partition (`boot` and `root` stand for those of both slots)
    pub label: &'static str,
    /// The size asked for, in bytes
    pub size: u64,
    /// Why it is refused
    pub reason: &'static str,
    /// The nearest size in bytes that is accepted
    pub remedy: u64,
}

impl Layout {
    /// Checks every size.
    ///
    /// # Errors
    /// The first size that is too small, too large, or not a multiple of [`ALIGNMENT`].
    pub fn validate(&self) -> Result<(), LayoutError> {
        let limits = [
            (
                "esp",
                self.esp,
                ESP_MIN,
                ESP_MAX,
                "FAT32 needs 36 MiB and is formatted in memory up to 256 MiB",
            ),
            ("boot", self.boot, ALIGNMENT, SIZE_MAX, "sizes go from 1 MiB to 8 TiB"),
            ("root", self.root, ALIGNMENT, SIZE_MAX, "sizes go from 1 MiB to 8 TiB"),
            ("recovery", self.recovery, ALIGNMENT, SIZE_MAX, "sizes go from 1 MiB to 8 TiB"),
            ("var", self.var, VAR_MIN, SIZE_MAX, "the persistent ext4 goes from 16 MiB to 8 TiB"),
        ];
        for (label, size, min, max, reason) in limits {
            if !(min..=max).contains(&size) {
                return Err(LayoutError { label, size, reason, remedy: size.clamp(min, max) });
            }
            if size % ALIGNMENT != 0 {
                let remedy = size.next_multiple_of(ALIGNMENT);
                return Err(LayoutError {
                    label,
                    size,
                    reason: "sizes are multiples of 1 MiB",
                    remedy,
                });
            }
        }
        Ok(())
    }

    /// Returns all partitions, in the order of [`label::ALL`], one after the other from 1 MiB on.
    #[must_use]
    pub fn extents(&self) -> [Extent; 8] {
        let sizes = [
            BIOS_SIZE,
            self.esp,
            self.boot,
            self.root,
            self.boot,
            self.root,
            self.recovery,
            self.var,
        ];
        let mut next = ALIGNMENT;
        std::array::from_fn(|index| {
            let offset = next;
            next += sizes[index];
            Extent { label: label::ALL[index], offset, size: sizes[index] }
        })
    }

    /// Returns the sizes that a disk has. Returns `None` when its partitions are not those of
    /// [`label::ALL`] in their order, or when its two slots differ. The sizes are as found: `var`
    /// may have grown.
    #[must_use]
    pub fn of(table: &PartitionTable) -> Option<Self> {
        let labels = table.partitions.iter().map(|partition| partition.label.as_str());
        let [_, esp, boot_a, root_a, boot_b, root_b, recovery, var] = table.partitions.as_slice()
        else {
            return None;
        };
        if !labels.eq(label::ALL) || boot_a.size != boot_b.size || root_a.size != root_b.size {
            return None;
        }
        let (boot, root) = (boot_a.size, root_a.size);
        Some(Self { esp: esp.size, boot, root, recovery: recovery.size, var: var.size })
    }

    /// Returns the size of the whole image in bytes: the partitions, and 1 MiB at each end for the
    /// tables.
    #[must_use]
    pub fn disk_size(&self) -> u64 {
        let var = self.extents()[7];
        var.offset + var.size + ALIGNMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_sizes_are_valid_and_lie_one_after_the_other() {
        let layout = Layout::default();
        layout.validate().unwrap();
        let extents = layout.extents();
        for pair in extents.windows(2) {
            assert_eq!(pair[0].offset + pair[0].size, pair[1].offset);
        }
        assert!(extents.iter().all(|extent| extent.offset % ALIGNMENT == 0 && extent.size > 0));
        assert_eq!(layout.disk_size() % ALIGNMENT, 0);
    }

    #[test]
    fn a_size_that_is_refused_names_the_partition_and_a_size_that_is_accepted() {
        let cases = [
            (Layout { esp: 32 << 20, ..Layout::default() }, "esp"),
            (Layout { esp: 1 << 30, ..Layout::default() }, "esp"),
            (Layout { boot: 0, ..Layout::default() }, "boot"),
            (Layout { root: (1 << 20) + 1, ..Layout::default() }, "root"),
            (Layout { recovery: 4096, ..Layout::default() }, "recovery"),
            (Layout { var: u64::MAX, ..Layout::default() }, "var"),
        ];
        for (layout, label) in cases {
            let error = layout.validate().unwrap_err();
            assert_eq!(error.label, label);
            assert!(error.to_string().contains(&format!("use {} bytes", error.remedy)));
            let mut repaired = layout;
            match label {
                "esp" => repaired.esp = error.remedy,
                "boot" => repaired.boot = error.remedy,
                "root" => repaired.root = error.remedy,
                "recovery" => repaired.recovery = error.remedy,
                _ => repaired.var = error.remedy,
            }
            repaired.validate().unwrap();
        }
    }
}
