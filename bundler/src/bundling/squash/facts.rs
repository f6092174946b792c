//! What a bundle says about the packing of its root image, in its manifest's `[meta.root]`.
//!
//! `pack` has packed it. `release::delta` reads the levels: a device packs changed blocks again.
//! Devices do not read this. Bundles made before have none, and level 4.

use std::collections::BTreeMap;

use squashfs_ng::Compressor;

use crate::recipe::Packing;

/// What a manifest says beyond its own keys: sections by their names behind `meta.`.
type Meta = BTreeMap<String, BTreeMap<String, String>>;

/// The section's name, behind `meta.`.
pub(crate) const SECTION: &str = "root";
const COMPRESSION: &str = "compression";
const LEVEL: &str = "level";
const MODULE_LEVEL: &str = "module-level";
/// The level of bundles that do not name one.
const BEFORE: u8 = 4;

/// Returns the section for a packing, in the words of a recipe's `bundle` action. Sizes are in
/// bytes.
pub(crate) fn to_meta(packing: &Packing) -> BTreeMap<String, String> {
    let Packing { blocks, module_level } = packing;
    let name = match blocks.compressor {
        Compressor::Zstd => "zstd",
        Compressor::Xz => "xz",
    };
    [
        (COMPRESSION, name.to_owned()),
        (LEVEL, blocks.level.to_string()),
        (MODULE_LEVEL, module_level.to_string()),
        ("block-size", blocks.block_size.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Returns the zstd levels of the blocks of a root image, the lowest first. None for xz.
pub(crate) fn zstd_levels(meta: &Meta) -> Vec<u8> {
    let Some(section) = meta.get(SECTION) else { return vec![BEFORE] };
    if section.get(COMPRESSION).is_some_and(|name| name != "zstd") {
        return Vec::new();
    }
    let level = |key| section.get(key).and_then(|text| text.parse().ok());
    let mut levels: Vec<u8> = [LEVEL, MODULE_LEVEL].into_iter().filter_map(level).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use squashfs_ng::Packing as Blocks;

    #[test]
    fn the_levels_of_the_recipe_come_back_from_the_bundle() {
        let levels = |compressor, level, module_level| {
            let blocks = Blocks { compressor, level, block_size: 128 << 10 };
            let section = to_meta(&Packing { blocks, module_level });
            zstd_levels(&Meta::from([(SECTION.to_owned(), section)]))
        };
        assert_eq!(levels(Compressor::Zstd, 19, 4), [4, 19]);
        assert_eq!(levels(Compressor::Zstd, 22, 22), [22]);
        assert!(levels(Compressor::Xz, 6, 6).is_empty());
        assert_eq!(zstd_levels(&Meta::new()), [4], "a bundle made before");
    }
}
