//! The Daruma bundle: one signed update file that is also a SquashFS.
//!
//! The file is `[SquashFS][chunk tables][manifest][signatures][footer]`; `docs/bundle-format.md`
//! says where every byte lies. [`Bundle::open`] turns a [`image_layout::Disk`] and a [`Keyring`]
//! into a [`Verified`], which is the only way to a payload. [`BundleWriter`] makes the file, and
//! [`StoredSquashfs`] the uncompressed SquashFS that both it and the boot images use. [`channel`]
//! is the signed list of releases that devices follow, and the root document that says whose
//! signatures count. [`oci`] is how their files lie in a registry.
//!
//! What a slot is and whether it may be overwritten now is left to the agent.

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
