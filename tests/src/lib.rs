//! What the end-to-end tests, the demo and the benchmarks share: real images, real machines.

pub mod fixture;
pub mod grub_emu;
pub mod stick;
pub mod story;
pub mod usb;
pub mod vm;
