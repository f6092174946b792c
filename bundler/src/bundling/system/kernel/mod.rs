//! The kernel of an image: its modules, and the firmware and microcode that come with it.
//!
//! `recipe` says what stays, and the crate `initramfs` writes the archives.
//! Read `take`, then `modinfo`, `module_sets`, `module_index`, `firmware`, `microcode`.

pub mod firmware;
pub mod microcode;
pub mod modinfo;
mod module_index;
mod module_sets;
mod take;

pub use take::{KernelImage, missing_firmware, take};
