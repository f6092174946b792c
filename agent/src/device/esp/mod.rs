//! What the agent reads and writes on the EFI system partition, without mounting it.
//! `grub-env` knows the FAT. Read: `environment`, `credentials`.

pub(crate) mod credentials;
pub(crate) mod environment;
