//! The host tool: from a recipe to a root filesystem, a signed bundle and a bootable disk image.
//!
//! Each step is a module that reads files and writes one: [`recipe`] → [`rootfs`] (a tar, by
//! mmdebstrap) → [`tree`] (in memory, pruned) → [`squash`] and the boot image → bundle → disk
//! image. The programs of the build host that are run are listed in [`host::tool`]. [`repo`] puts
//! bundles into signed channels, [`watch`] takes those out that fail, [`simulate`] shows beforehand
//! how that will go, and [`registry`] carries repositories into OCI registries and back.

#![forbid(unsafe_code)]

pub mod build;
pub mod exit;
pub mod fleet;
pub mod host;
pub mod publish;
pub mod recipe;
pub mod release;

pub use build::squash::{self, blocks, verity};
pub use build::system::{clean, device, kernel, modinfo};
pub use build::tree::{self, tar as tree_tar};
pub use build::{bundling, rootfs};
pub use fleet::{share, simulate, watch};
pub use publish::{registry, repo, serve};
pub use release::{delta, image, inspect};
