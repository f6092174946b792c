//! The Daruma bundle: one signed update file that is also a SquashFS.
//!
//! The agent knows what a slot is, and decides whether it may overwrite a slot now.
//!
//! The file is `[SquashFS][chunk tables][manifest][signatures][footer]`; `docs/bundle-format.md`
//! says where every byte lies. [`Bundle::open`] turns a [`image_layout::Disk`] and a [`Keyring`]
//! into a [`Verified`]. A payload can be read only through a [`Verified`]. [`BundleWriter`] makes
//! the file. [`StoredSquashfs`] makes the uncompressed SquashFS of bundles and boot images.
//! [`channel`] has the signed list of releases that devices follow. It also has the root document,
//! which says whose signatures count. [`oci`] says how these files lie in a registry.

pub mod channel;
pub mod delta;
mod error;
mod file;
mod image;
mod manifest;
pub mod oci;
mod trust;
mod value;

pub use error::BundleError;
pub use file::policy::Policy;
pub use file::reader::{Bundle, Verified};
pub use file::writer::{BundleWriter, ImageInput};
pub use image::chunk::Chunk;
pub use image::slot_chunks::{ROOT_CHUNKS, SlotChunks};
pub use image::squashfs::{StoredFile, StoredSquashfs};
pub use image::verity_tree::VerityTree;
pub use manifest::error::ManifestError;
pub use manifest::fields::{BundleInfo, Image, Manifest, Update, Verity, verity_tree_size};
pub use trust::key::{PublicKey, SecretKey};
pub use trust::keyring::Keyring;
pub use trust::signature::{Signature, signed_message};
pub use trust::verdict::Unsigned;
pub use value::digest::{Salt, Sha256};
pub use value::key_id::KeyId;
pub use value::limits;
pub use value::name::{BuildId, ChannelName, Compatible, FileName, ImageName, InvalidName};
