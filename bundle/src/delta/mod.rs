//! A delta: what takes a device that holds one exact bundle to another one, in a fraction of the
//! bytes.
//!
//! It works on the *uncompressed* blocks of a SquashFS: a block of the new image is made of blocks
//! of the old one, and compressed again, bit for bit as the bundler's zstd has done it.
//! `docs/bundle-format.md` says where every byte lies.
//!
//! A delta is not signed and need not be: [`Delta`] hands out chunks of the new bundle, each held
//! against the signed table of that bundle, and nothing else. What a hostile delta can cost is
//! bounded: by [`limits`] in memory, by the size of the images in what it makes.

mod ahead;
mod apply;
mod dictionary;
mod frame;
mod header;
pub mod limits;
mod mix;
mod old_images;
mod patch;
mod recompress;
mod record;
mod repack;
mod scratch;
mod wire;
mod worker;

pub use apply::Delta;
pub use frame::Frame;
pub use header::{Header, zstd_version};
pub use mix::{Mix, PackedMix};
pub use old_images::OldImages;
pub use patch::{Output, Packing, Patch, Source};
pub use recompress::Recompressor;
pub use record::Record;
pub use repack::Repacker;
