//! The host tool: from a recipe to a root filesystem, a signed bundle and a bootable disk image.
//!
//! Each step is a module that reads files and writes one: [`recipe`] → [`rootfs`] (a tar, by
//! mmdebstrap) → [`tree`] (in memory, pruned) → [`squash`] and the boot image → bundle → disk
//! image. The programs of the build host that are run are listed in [`tool`]. [`repo`] puts bundles
//! into signed channels, [`watch`] takes those out that fail, [`simulate`] shows beforehand how
//! that will go, and [`registry`] carries repositories into OCI registries and back.

#![forbid(unsafe_code)]

pub mod blocks;
pub mod bundling;
pub mod cache;
pub mod clean;
pub mod delta;
pub mod device;
pub mod exit;
pub mod glob;
pub mod image;
pub mod inspect;
pub mod kernel;
pub mod mirror;
pub mod modinfo;
mod order;
pub mod part;
pub mod progress;
pub mod recipe;
pub mod registry;
pub mod repo;
pub mod rootfs;
pub mod serve;
pub mod share;
pub mod simulate;
pub mod squash;
pub mod staging;
pub mod tool;
pub mod tree;
pub mod tree_tar;
pub mod verity;
pub mod watch;
