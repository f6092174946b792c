//! A whole recipe, in the form that the build reads.
//!
//! `load` makes it from files, and `assemble` from their keys. A recipe holds no unchecked text.

use std::path::PathBuf;

use image_layout::Layout;

use crate::recipe::action::{Bootstrap, BundleSettings, Kernel, Step};

/// A recipe with `extends` and `recipe` resolved and every key checked.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The file that the caller named.
    pub path: PathBuf,
    /// Debian's name of the architecture. Only `amd64` works for now, because of GRUB's images and
    /// daruma-init.
    pub architecture: String,
    /// The action that makes the root filesystem.
    pub bootstrap: Bootstrap,
    /// The actions that change the root filesystem, in order.
    pub steps: Vec<Step>,
    /// The choice of kernel modules.
    pub kernel: Kernel,
    /// The name of the bundle, and what it leaves out.
    pub bundle: BundleSettings,
    /// Partition sizes of the factory image, in bytes.
    pub layout: Layout,
}
