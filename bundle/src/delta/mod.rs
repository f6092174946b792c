//! A delta: a file that takes a device from one exact bundle to another, in a fraction of the
//! bytes.
//!
//! Nobody signs a delta. [`Delta`] compares each chunk with the signed table of the new bundle.
//! Read `apply`, `header`, `records`, `workers`, `packer`; `docs/bundle-format.md` has the bytes.
//!
//! A delta works on the *uncompressed* blocks of a SquashFS. It makes a block of the new image from
//! blocks of the old one. Then it compresses the new block again, bit for bit as the bundler's zstd
//! did. A hostile delta can cost only a bounded amount. [`limits`] bounds its memory, and the size
//! of the images bounds what it makes.

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
