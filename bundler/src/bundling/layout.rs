//! The partition sizes that a bundle carries, in its manifest's `[meta.disk]`.
//!
//! The recipe says them when the bundle is made; the disk image is made of the bundle alone, maybe
//! by somebody who has no recipe. Devices do not read them. Bundles made before have none.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use image_layout::Layout;

/// What a manifest says beyond its own keys: sections by their names behind `meta.`.
type Meta = BTreeMap<String, BTreeMap<String, String>>;

/// The section's name, behind `meta.`.
pub(crate) const SECTION: &str = "disk";

/// The section for a layout: bytes by the partition's name in a recipe's `image` action.
pub(crate) fn to_meta(layout: &Layout) -> BTreeMap<String, String> {
    let Layout { esp, boot, root, recovery, var } = *layout;
    [("esp", esp), ("boot", boot), ("root", root), ("recovery", recovery), ("var", var)]
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.to_string()))
        .collect()
}

/// The layout that a bundle carries; `None` when it carries none.
///
/// # Errors
/// A size is missing or no number. Whether the sizes are possible is for [`Layout::validate`].
pub(crate) fn of_meta(meta: &Meta) -> Result<Option<Layout>> {
    let Some(section) = meta.get(SECTION) else { return Ok(None) };
    let bytes = |name: &str| -> Result<u64> {
        let text = section.get(name).map(String::as_str).unwrap_or_default();
        match text.parse() {
            Ok(bytes) => Ok(bytes),
            Err(_) => bail!(
                "the bundle's [meta.{SECTION}] says {name}={text:?}, which is not a number of \
                    bytes; name the recipe with --recipe"
            ),
        }
    };
    Ok(Some(Layout {
        esp: bytes("esp")?,
        boot: bytes("boot")?,
        root: bytes("root")?,
        recovery: bytes("recovery")?,
        var: bytes("var")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(section: BTreeMap<String, String>) -> Meta {
        Meta::from([(SECTION.to_owned(), section)])
    }

    #[test]
    fn the_layout_of_the_recipe_comes_back_from_the_bundle() {
        let layout = Layout { root: 32 << 20, var: 300 << 20, ..Layout::default() };
        assert_eq!(of_meta(&meta(to_meta(&layout))).unwrap(), Some(layout));
        assert_eq!(of_meta(&Meta::new()).unwrap(), None);
    }

    #[test]
    fn a_size_that_is_missing_or_no_number_is_named() {
        for (name, value) in [("root", Some("much")), ("var", None), ("boot", Some("-1"))] {
            let mut section = to_meta(&Layout::default());
            section.remove(name);
            section.extend(value.map(|value| (name.to_owned(), value.to_owned())));
            let error = of_meta(&meta(section)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("says {name}=")) && error.contains("--recipe"),
                "{error}"
            );
        }
    }
}
