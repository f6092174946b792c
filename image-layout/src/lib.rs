//! What the disk of a Daruma device looks like, and the factory image that gives it that look.
//!
//! [`Slot`] names the two copies of the system, [`label`] the partitions, [`Layout`] their sizes,
//! and [`Disk`] is the one seam between the code and the bytes of a device. [`PartitionTable`]
//! reads the GPT back and [`settle_table`] makes it the disk's own; both run on the device, so they
//! use no more than a CRC. [`FactoryImage`] runs on the build host, as an ordinary user. Choosing a
//! slot is `grub-env`'s business; this crate knows nothing of boot states or bundles.

mod aside;
mod disk;
mod error;
mod esp;
mod factory;
mod fat32;
mod gpt;
mod grub_image;
mod host_tool;
pub mod label;
mod layout;
mod partition_type;
mod qcow2;
mod settle;
mod slot;
mod sparse;
mod superblock;
mod table;
mod var;

pub use disk::{Disk, FileDisk};
pub use error::ImageError;
pub use factory::FactoryImage;
pub use grub_image::EARLY_GRUB_CFG;
pub use layout::{ALIGNMENT, Extent, Layout, LayoutError};
pub use qcow2::convert_to_qcow2;
pub use settle::{NewSize, Random, Settled, settle_table};
pub use slot::{Slot, UnknownSlot};
pub use superblock::mend_torn_superblock;
pub use table::{Partition, PartitionTable, TableCopy, TableError};
