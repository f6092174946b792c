//! The FAT32 volume of the EFI system partition.
//!
//! `factory` says which files it holds. Read `esp`, then `volume`.

pub(crate) mod esp;
pub(crate) mod volume;
