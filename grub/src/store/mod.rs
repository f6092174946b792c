//! The files of the EFI system partition, read and written without mounting it.
//!
//! `env` knows what is in the two copies of the environment, and `credentials` has its own folder.
//! Read `copies`, then `fat` and `aligned`, then `heal` and `folder`.

pub(crate) mod aligned;
pub(crate) mod copies;
pub(crate) mod fat;
pub(crate) mod folder;
pub(crate) mod heal;
