//! Uses a finished bundle: makes a disk image or a delta, or shows the bundle.
//!
//! `bundling` makes the bundle, and `publish` offers it to devices.
//! Read `inspect`, `credentials`, `grub`, `image`, `part`, `previous`, `rebuild`, `delta`.

pub mod credentials;
pub mod delta;
pub mod grub;
pub mod image;
pub mod inspect;
pub mod part;
pub mod previous;
pub mod rebuild;
