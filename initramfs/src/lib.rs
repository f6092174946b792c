//! The initramfs: `daruma-init` and the archive that it is started from.
//!
//! This library writes the archive on the build host ([`build()`]), out of a static `daruma-init`
//! and of kernel modules that [`modules::select`] picked from a kernel's `modules.dep`. It runs
//! nothing and reads no file: text and bytes come in, bytes go out. What happens on the device is
//! left to the program, `src/init`.

pub mod archive;
mod build;
mod error;
pub mod index;
pub mod modules;
pub mod recovery;
pub mod stripping;
pub mod wanted;

pub use build::{InitramfsInput, MODULE_DIR, Module, build};
pub use error::BuildError;
