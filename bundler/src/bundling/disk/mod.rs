//! Makes the disk of an image-partition action from files: no root, no loop device, no mounts of
//! the disk, unless root asks for them.
//!
//! `rootfs` runs the actions. Read `plan`, `identity`, `table` with `kind`, `format`, `fstab`,
//! disk.sh with grub.sh (what runs beside the actions), then `refuse`.

mod format;
mod fstab;
mod identity;
mod kind;
mod plan;
mod refuse;
mod table;

pub(super) use plan::DiskPlan;
pub(super) use refuse::{check_loops, refuse, tools};
