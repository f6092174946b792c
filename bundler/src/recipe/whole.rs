//! A whole recipe, as the build reads it.
//!
//! `load` makes it from files, and `action` from their keys. Nothing in it is unchecked text.

use std::path::PathBuf;

use image_layout::Layout;

use crate::recipe::action::{Bootstrap, BundleSettings, Kernel, Step};

/// A recipe with `extends` and `recipe` resolved and every key checked.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The file that was asked for.
    pub path: PathBuf,
    /// Debian's name of the architecture; only `amd64` for now (GRUB's images, daruma-init).
    pub architecture: String,
    /// The first root filesystem.
    pub bootstrap: Bootstrap,
    /// What is done to it, in order.
    pub steps: Vec<Step>,
    /// Kernel modules.
    pub kernel: Kernel,
    /// What the bundle is called and what it leaves out.
    pub bundle: BundleSettings,
    /// Partition sizes of the factory image, in bytes.
    pub layout: Layout,
}
