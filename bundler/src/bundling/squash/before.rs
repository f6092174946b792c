//! Keeps the packed blocks of the last bundle in the build cache, for the next one.
//!
//! `pack` uses them. Their key has the packing, this program and its libraries, but not the tree:
//! each bundle of a system takes the place of the one before.

use std::fs;
use std::sync::Arc;

use squashfs_ng::PackedBlocks;

use crate::host::cache::{self, Cache};
use crate::recipe::Packing;

/// The packed blocks of one system, between two bundles.
#[derive(Debug)]
pub(crate) struct Before<'a> {
    cache: &'a Cache,
    key: String,
    pub(crate) blocks: Arc<PackedBlocks>,
}

impl<'a> Before<'a> {
    /// Finds the blocks of the last bundle for `compatible`. `None`: there is no cache. Without an
    /// entry there are no blocks.
    pub(crate) fn find(cache: Option<&'a Cache>, how: &Packing, compatible: &str) -> Option<Self> {
        let (cache, program) = (cache?, cache::this_program().ok()?);
        let key = cache::key(&[
            ("packed blocks of".to_owned(), compatible.as_bytes().to_vec()),
            ("packing".to_owned(), format!("{how:?}").into_bytes()),
            ("program".to_owned(), program.into_bytes()),
        ]);
        let bytes = cache.find(&key).and_then(|found| fs::read(found.path).ok());
        let blocks = Arc::new(PackedBlocks::from_bytes(&bytes.unwrap_or_default()));
        Some(Self { cache, key, blocks })
    }

    /// Keeps the blocks of this bundle. A bundle is as good without a cache, so a failure says
    /// nothing: `build` says that a cache is full.
    pub(crate) fn keep(self) {
        if self.blocks.counts().1 > 0 {
            let _ = self.cache.begin(&self.key).and_then(|part| {
                fs::write(&part.path, self.blocks.to_bytes())?;
                self.cache.replace(part, "packed blocks of a root image")
            });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::bundling::squash::pack;
    use crate::bundling::tree::Tree;

    #[test]
    fn a_bundle_packs_what_the_last_one_of_the_same_system_and_packing_did_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let image = dir.path().join("root.img");
        let how = Packing::default();
        let pack_with = |before: Option<&Before<'_>>, edit: &[u8]| {
            let mut tree = Tree::new(0);
            let large: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
            tree.put("usr/large", 0o644, large.as_slice());
            tree.put("etc/small", 0o644, edit);
            pack(&tree, &image, 0, &how, before.map(|before| &before.blocks)).unwrap();
            fs::read(&image).unwrap()
        };
        let counts = |edit: &[u8], how: &Packing, compatible: &str| {
            let before = Before::find(Some(&cache), how, compatible).unwrap();
            assert_eq!(pack_with(Some(&before), edit), pack_with(None, edit));
            let counts = before.blocks.counts();
            before.keep();
            counts
        };
        let (all, new) = counts(b"one", &how, "router");
        assert_eq!(all, new);
        assert_eq!(counts(b"one", &how, "router"), (all, 0));
        assert_eq!(counts(b"two", &how, "router"), (all, 1));
        // The new block has taken the place of the old one.
        assert_eq!(counts(b"one", &how, "router"), (all, 1));
        assert_eq!(counts(b"one", &how, "server"), (all, all));
        let other = Packing { module_level: how.module_level + 1, ..how };
        assert_eq!(counts(b"one", &other, "router"), (all, all));
        assert!(Before::find(None, &how, "router").is_none());
    }
}
