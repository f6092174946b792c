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

mod aside;
pub mod channel;
mod chunk;
mod cut;
pub mod delta;
mod digest;
mod error;
mod footer;
mod ini;
mod key;
mod key_id;
mod keyring;
pub mod limits;
mod manifest;
mod manifest_error;
mod name;
pub mod oci;
mod payload;
mod policy;
mod reader;
mod section;
mod signature;
mod slot_chunks;
mod squashfs;
mod squashfs_read;
mod verdict;
mod verity_tree;
mod writer;

pub use chunk::Chunk;
pub use digest::{Salt, Sha256};
pub use error::BundleError;
pub use key::{PublicKey, SecretKey};
pub use key_id::KeyId;
pub use keyring::Keyring;
pub use manifest::{BundleInfo, Image, Manifest, Update, Verity, verity_tree_size};
pub use manifest_error::ManifestError;
pub use name::{BuildId, ChannelName, Compatible, FileName, ImageName, InvalidName};
pub use policy::Policy;
pub use reader::{Bundle, Verified};
pub use signature::{Signature, signed_message};
pub use slot_chunks::{ROOT_CHUNKS, SlotChunks};
pub use squashfs::{StoredFile, StoredSquashfs};
pub use verdict::Unsigned;
pub use verity_tree::VerityTree;
pub use writer::{BundleWriter, ImageInput};
