//! The disk of a Daruma device: its partitions, and the factory image with them.
//!
//! The crate `grub-env` chooses a slot. This crate knows nothing of boot states or bundles.
//!
//! [`Slot`] names the two copies of the system, [`label`] the partitions, [`Layout`] their sizes.
//! [`Disk`] is the only interface between the code and the bytes of a device. [`PartitionTable`]
//! reads the GPT, and [`settle_table`] adapts it to the disk. Both run on the device, so they need
//! nothing but a CRC. [`make_empty_var`] makes /var anew there. [`FOLDERS`] are the folders whose
//! changes lie on /var. [`FactoryImage`] runs on the build host, as an ordinary user.

mod amount;
mod disk;
mod error;
mod factory;
mod fat;
mod partition;
mod slot;
mod var;

pub use amount::Amount;
pub use disk::{Disk, FileDisk};
pub use error::ImageError;
pub use factory::grub_image::{EARLY_GRUB_CFG, place_grub};
pub use factory::image::FactoryImage;
pub use factory::qcow2::convert_to_qcow2;
pub use fat::long_name::{FAT_ENTRY, LONGEST_FAT_NAME, LongName, long_name_entries, short_alias};
pub use partition::label;
pub use partition::layout::{ALIGNMENT, Extent, Layout, LayoutError};
pub use partition::settle::{NewSize, Random, Settled, settle_table};
pub use partition::table::{Partition, PartitionTable, TableCopy, TableError};
pub use slot::{Slot, UnknownSlot};
pub use var::empty::make_empty_var;
pub use var::folders::{FOLDERS, FOLDERS_ON_VAR, folder_name, place_on_var};
pub use var::superblock::mend_torn_superblock;
