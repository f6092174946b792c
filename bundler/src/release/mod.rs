//! What is done with a bundle: a disk image, a delta, a look into it.
//!
//! Making the bundle is left to `bundling`, and offering it to devices to `publish`.
//! Read `inspect`, `image`, `part`, `delta`.

pub mod delta;
pub mod image;
pub mod inspect;
pub mod part;
