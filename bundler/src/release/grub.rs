//! Gets GRUB from the suite of a recipe: a small system with its programs and what these need.
//!
//! `image` gives its folder to the crate `image-layout`. `bundling::rootfs` fetches it, with a lock
//! of its own: `box.yaml` has `box.grub.lock`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bundling::rootfs::{self, Locking, Settings};
use crate::host::cache::Cache;
use crate::host::tool;
use crate::recipe::{Bootstrap, Kernel, Recipe};

/// GRUB's programs, and its modules for both firmwares.
const PACKAGES: [&str; 3] = ["grub-common", "grub-efi-amd64-bin", "grub-pc-bin"];

/// How GRUB is got.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The recipe whose suite it is from.
    pub recipe: &'a Recipe,
    /// Whether its lock counts.
    pub locking: Locking,
    /// The cache. `None`: everything is fetched, but for what a lock keeps in the user's.
    pub cache: Option<&'a Cache>,
}

/// Returns GRUB's lock beside that of a recipe: `small.grub.lock` for `small.lock`. A name without
/// that ending gets it whole, so that no two locks share GRUB's.
fn lock_of(lock: &Path) -> PathBuf {
    let is_lock = lock.extension().is_some_and(|ending| ending == "lock");
    let mut name = if is_lock { lock.with_extension("") } else { lock.to_owned() }.into_os_string();
    name.push(".grub.lock");
    name.into()
}

impl Source<'_> {
    /// Unpacks GRUB below `work`. Returns the root folder. `None`: the recipe has no suite.
    ///
    /// # Errors
    /// The packages are not to be had, or the lock is refused.
    pub(super) fn unpack(&self, epoch: u64, work: &Path) -> Result<Option<PathBuf>> {
        let Some(bootstrap) = &self.recipe.bootstrap else { return Ok(None) };
        let recipe = Recipe {
            path: self.recipe.path.with_extension("grub.yaml"),
            lock: lock_of(&self.recipe.lock),
            bootstrap: Some(Bootstrap {
                variant: "extract".to_owned(),
                include: PACKAGES.map(str::to_owned).to_vec(),
                dpkgopts: Vec::new(),
                ..bootstrap.clone()
            }),
            steps: Vec::new(),
            bundle: None,
            kernel: Kernel::default(),
            warnings: Vec::new(),
            rendered: Vec::new(),
            ..self.recipe.clone()
        };
        let settings = Settings {
            artifacts: work.join("artifacts"),
            environment: std::collections::BTreeMap::new(),
            epoch,
            needs_root: true,
            loop_devices: false,
            locking: self.locking,
            cache: self.cache.map(|cache| cache.dir().to_owned()),
        };
        let (tar, root) = (work.join("grub.tar"), work.join("grub"));
        rootfs::build(recipe, settings, Some(&tar), self.cache).context("getting GRUB")?;
        std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        let mut unpack = tool::command("tar");
        unpack.args(["-x", "--no-same-owner", "--exclude=./dev/*", "-C"]).arg(&root);
        tool::run(unpack.arg("-f").arg(&tar)).context("unpacking GRUB")?;
        Ok(Some(root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_locks_share_that_of_grub() {
        for (lock, grub) in [
            ("a/box.lock", "a/box.grub.lock"),
            ("box.small", "box.small.grub.lock"),
            ("box.large", "box.large.grub.lock"),
        ] {
            assert_eq!(lock_of(Path::new(lock)), Path::new(grub));
        }
    }
}
