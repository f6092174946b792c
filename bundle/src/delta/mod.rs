//! A delta: what takes a device from one exact bundle to another, in a fraction of the bytes.
//!
//! Nobody signs a delta. [`Delta`] holds each chunk against the signed table of the new bundle.
//! Read `apply`, `header`, `records`, `workers`, `packer`; `docs/bundle-format.md` has the bytes.
//!
//! A delta works on the *uncompressed* blocks of a SquashFS. A block of the new image is made of
//! blocks of the old one, and compressed again, bit for bit as the bundler's zstd has done it. What
//! a hostile delta can cost is bounded: by [`limits`] in memory, by the size of the images in what
//! it makes.

mod apply;
mod header;
pub mod limits;
mod old_images;
mod packer;
mod records;
mod scratch;
mod wire;
mod workers;

pub use apply::Delta;
pub use header::{Header, zstd_version};
pub use old_images::OldImages;
pub use packer::recompress::Recompressor;
pub use packer::repack::Repacker;
pub use records::frame::Frame;
pub use records::mix::{Mix, PackedMix};
pub use records::patch::{Output, Packing, Patch, Source};
pub use records::record::Record;
