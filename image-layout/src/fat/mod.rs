//! The FAT32 volume of the EFI system partition.
//!
//! `factory` says which files it holds. Read `long_name`, `esp`, then `volume`.

pub(crate) mod esp;
pub(crate) mod long_name;
pub(crate) mod volume;
