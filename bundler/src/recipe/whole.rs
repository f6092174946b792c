//! A whole recipe, in the form that the build reads.
//!
//! `load` makes it from files, and `assemble` from their keys. A recipe holds no unchecked text.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image_layout::Layout;

use crate::recipe::action::{Action, Bootstrap, BundleSettings, Kernel, Run, Step};
use crate::recipe::listing::Line;
use crate::recipe::yaml::RecipeError;

/// How a recipe is read.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Variables of the templates.
    pub variables: BTreeMap<String, String>,
    /// True makes a warning of each unknown key, and passes over the key as debos does.
    pub lenient: bool,
}

/// A recipe with `extends` and `recipe` resolved and every key checked.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The file that the caller named.
    pub path: PathBuf,
    /// Its lock: the same path with the ending `.lock`, unless the caller names another file.
    pub lock: PathBuf,
    /// Debian's name of the architecture. A bundle is only for `amd64` for now, because of GRUB's
    /// images and daruma-init.
    pub architecture: String,
    /// Bytes of a sector of the disk.
    pub sector: u64,
    /// The action that makes the root filesystem. `None`: an `unpack` action or nothing does.
    pub bootstrap: Option<Bootstrap>,
    /// The other actions, in order.
    pub steps: Vec<Step>,
    /// The choice of kernel modules.
    pub kernel: Kernel,
    /// The name of the bundle, and what it leaves out. `None`: the recipe makes no bundle.
    pub bundle: Option<BundleSettings>,
    /// Partition sizes of the factory image, in bytes.
    pub layout: Layout,
    /// Whether the recipe names a factory image.
    pub has_image: bool,
    /// What a person should know, each with its place.
    pub warnings: Vec<String>,
    /// Each file and the text that its template gave, in the order of reading.
    pub rendered: Vec<(PathBuf, String)>,
    /// The recipe and all that it extends and includes, as one text.
    pub listing: Vec<Line>,
}

impl Recipe {
    /// Returns the settings of the bundle.
    ///
    /// # Errors
    /// The recipe has no `bundle` action.
    pub fn bundle(&self) -> Result<&BundleSettings, RecipeError> {
        self.bundle.as_ref().ok_or_else(|| {
            RecipeError(format!(
                "{}: the recipe needs a bundle action with the key `compatible`",
                self.path.display()
            ))
        })
    }

    /// Returns whether a script runs on the build host, which can write files there.
    #[must_use]
    pub fn runs_on_host(&self) -> bool {
        let on_host = |action: &Action| matches!(action, Action::Run(run) if !run.chroot);
        self.steps.iter().any(|step| on_host(&step.action))
    }

    /// Returns whether the recipe puts files into the artifact folder while it is built.
    #[must_use]
    pub fn makes_artifacts(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(
                step.action,
                Action::Pack(_) | Action::Disk(_) | Action::Run(Run { postprocess: true, .. })
            )
        })
    }
}
