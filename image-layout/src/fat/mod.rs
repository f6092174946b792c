//! The FAT32 volume of the EFI system partition.
//!
//! Which files it holds is left to `factory`.
//! Read `esp`, then `volume`.

pub(crate) mod esp;
pub(crate) mod volume;
