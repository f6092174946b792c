//! The host tool: makes a signed bundle, a bootable disk image and a channel from a recipe.
//!
//! The crate `squashfs-ng` writes a SquashFS, the crate `bundle` writes the file of a bundle, and
//! the crate `image-layout` writes the disk. The modules follow the order of the work: [`recipe`],
//! [`bundling`], [`release`], [`publish`], [`fleet`]. [`contents`] reads what they have made. They
//! all run the programs of the build host through [`host`].
//!
//! Each step reads files and writes one file: [`recipe`] → [`rootfs`] (a tar, by mmdebstrap) →
//! [`tree`] (in memory, pruned) → [`squash`] and the boot image → bundle → disk image.

#![forbid(unsafe_code)]

pub mod bundling;
pub mod contents;
pub mod exit;
pub mod fleet;
pub mod host;
pub mod lock;
pub mod publish;
pub mod recipe;
pub mod release;

pub use bundling::squash::{self, blocks, verity};
pub use bundling::system::kernel::modinfo;
pub use bundling::system::{clean, device, first_boot, kernel, secrets, without};
pub use bundling::tree::{self, tar as tree_tar};
pub use bundling::{accounts, rootfs};
pub use fleet::{share, simulate, watch};
pub use publish::{registry, repo, serve};
pub use release::{credentials, delta, grub, image, inspect, previous, rebuild};
