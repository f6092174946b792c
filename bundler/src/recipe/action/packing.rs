//! The keys of the `bundle` action that say how the root image is packed.
//!
//! `own` lists the keys. `bundling::squash` packs the image, and docs/decisions.md has the reasons
//! for the defaults.

use squashfs_ng::{Compressor, Packing as Blocks};

use crate::recipe::yaml::{Keys, Place, RecipeError};

/// The words of the key `compression`.
pub(super) const COMPRESSORS: &[&str] = &["zstd", "xz"];
/// Bytes of the smallest and of the largest block.
const BLOCK_SIZES: [u64; 2] = [128 << 10, 1 << 20];
/// Above this block size, in bytes, zstd's levels 16 and 17 are not there either.
const LARGE: u32 = 256 << 10;

/// The level of the kernel's modules, unless the recipe names one. A higher level of the other
/// files does not change it: the modules are most of what an update changes.
const MODULE_LEVEL: u8 = 4;

/// How the root image is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packing {
    /// Compressor, level and block size of everything but the kernel's modules.
    pub blocks: Blocks,
    /// Level of the kernel's modules. Every update of the kernel changes all of them.
    pub module_level: u8,
}

impl Default for Packing {
    fn default() -> Self {
        let blocks = Blocks { compressor: Compressor::Zstd, level: 19, block_size: 512 << 10 };
        Self { blocks, module_level: MODULE_LEVEL }
    }
}

/// Reads the keys `compression`, `level`, `module-level` and `block-size`.
pub(super) fn read_packing(keys: &mut Keys) -> Result<Packing, RecipeError> {
    let compressor = match keys.word("compression", COMPRESSORS)? {
        Some("xz") => Compressor::Xz,
        _ => Compressor::Zstd,
    };
    let default = Packing::default().blocks;
    let block_size = match keys.size_at("block-size")? {
        None => default.block_size,
        Some((size, place)) => block_size(size, &place)?,
    };
    let level = match keys.text_at("level")? {
        Some((text, place)) => level("level", &text, compressor, block_size, &place)?,
        None if compressor == Compressor::Xz => 6,
        None => default.level,
    };
    let module_level = match keys.text_at("module-level")? {
        // A parent's key may be there. A device packs no xz again, so one level is enough.
        _ if compressor == Compressor::Xz => level,
        None => MODULE_LEVEL.min(level),
        Some((text, place)) => self::level("module-level", &text, compressor, block_size, &place)?,
    };
    Ok(Packing { blocks: Blocks { compressor, level, block_size }, module_level })
}

fn block_size(size: u64, place: &Place) -> Result<u32, RecipeError> {
    let [least, most] = BLOCK_SIZES;
    let size = u32::try_from(size)
        .ok()
        .filter(|size| size.is_power_of_two() && (least..=most).contains(&u64::from(*size)));
    size.ok_or_else(|| place.error("`block-size` is 128K, 256K, 512K or 1M"))
}

fn level(
    key: &str,
    text: &str,
    compressor: Compressor,
    block_size: u32,
    place: &Place,
) -> Result<u8, RecipeError> {
    let level: Option<u8> = text.parse().ok();
    let high = if block_size > LARGE { 18 } else { 16 };
    let is_known = level.is_some_and(|level| match compressor {
        // The others need ways to search that Daruma's zstd does not have (.cargo/config.toml):
        // they would be no smaller than level 4.
        Compressor::Zstd => (1..=4).contains(&level) || (high..=22).contains(&level),
        Compressor::Xz => level <= 9,
    });
    match level.filter(|_| is_known) {
        Some(level) => Ok(level),
        None => Err(place.error(match compressor {
            Compressor::Zstd => format!(
                "`{key}: {text}` is not a level of this zstd: 1 to 4 are fast, and {high} \
                    to 22 are small{}",
                if high > 16 { " (with blocks of up to 256K, 16 too)" } else { "" }
            ),
            Compressor::Xz => format!("`{key}: {text}` is not a level of xz: 0 to 9"),
        })),
    }
}
