//! What an image is built from: the recipe, read and checked before anything is run.
//!
//! The form is debos's: `architecture` and a list of `actions`. Unlike debos, which ignores what it
//! does not know, every unknown key is an error with its line. docs/recipes.md lists all keys.

mod action;
mod keys;
mod load;
mod node;

pub use action::{Bootstrap, BundleSettings, Kernel, Pattern, Run, Step};
pub use node::Place;

use std::path::{Path, PathBuf};

use image_layout::Layout;

/// A recipe that cannot be used; the text starts with `file:line:`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecipeError(pub String);

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

impl Recipe {
    /// Reads a recipe and everything that it extends or includes.
    ///
    /// # Errors
    /// Files that cannot be read, and everything that [`RecipeError`] can say.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        load::load(path)
    }
}
