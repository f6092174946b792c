//! The initramfs: `daruma-init` and the archive that it is started from.
//!
//! The program in `src/init` runs on the device. This library writes the archive on the build host
//! ([`build()`]). It uses a static `daruma-init`, and kernel modules that [`modules::select`]
//! picked from a kernel's `modules.dep`.
//!
//! The library runs nothing and reads no file: text and bytes come in, bytes go out.

pub mod archive;
mod build;
mod error;
pub mod index;
pub mod modules;
pub mod recovery;
pub mod stripping;
pub mod wanted;

pub use build::{FIRMWARE_DIR, InitramfsInput, MODULE_DIR, Module, archives, build};
pub use error::BuildError;
