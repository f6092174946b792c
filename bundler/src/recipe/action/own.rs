//! Daruma's own actions: `kernel`, `bundle` and `image`.
//!
//! They say what the signed update and its disk are like.

use image_layout::Layout;

use crate::recipe::yaml::{Field, Keys, Place, RecipeError, Table};

pub(super) const KERNEL: Table = Table {
    name: "kernel",
    about: "Chooses the kernel's modules.",
    fields: &[
        Field::texts("modules", "Patterns of the modules that stay, with what these need."),
        Field::flag("btf", "False leaves the modules' types for BPF programs out."),
    ],
};

pub(super) const BUNDLE: Table = Table {
    name: "bundle",
    about: "Makes a signed update of the root filesystem.",
    fields: &[
        Field::text("compatible", "Which devices the update is for: one word.").required(),
        Field::text("min-version", "A device that runs this refuses older versions."),
        Field::text("args", "Text for the kernel command line."),
        Field::flag("docs", "True keeps /usr/share/doc."),
        Field::flag("man", "True keeps manual pages and info files."),
        Field::texts("locales", "Folders of /usr/share/locale that stay."),
        Field::texts("drop", "Patterns of more files to leave out."),
        Field::texts("health-units", "Units that must work."),
    ],
};

pub(super) const IMAGE: Table = Table {
    name: "image",
    about: "Sets the sizes of the partitions of the factory image.",
    fields: &[
        Field::text("esp", "Size of the EFI system partition."),
        Field::text("boot", "Size of each boot partition."),
        Field::text("root", "Size of each root partition."),
        Field::text("recovery", "Size of the recovery partition."),
        Field::text("var", "Size of /var at first."),
    ],
};

/// The `kernel` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Patterns of the modules that stay, together with the modules that these need. `None`: all
    /// stay.
    pub modules: Option<Vec<Pattern>>,
    /// True keeps the types for BPF programs, and with them the signatures, in the modules of the
    /// root image.
    pub btf: bool,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { modules: None, btf: true }
    }
}

/// A pattern of a recipe and its place. The build finds out late that a pattern matches nothing,
/// and then needs the place for the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// The pattern; see docs/recipes.md, "Patterns".
    pub text: String,
    /// The place where the pattern was written.
    pub place: Place,
}

/// The `bundle` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BundleSettings {
    /// The kind of device that the bundle is for.
    pub compatible: String,
    /// One line for people.
    pub description: String,
    /// A device that runs this bundle refuses every version below this one.
    pub min_version: semver::Version,
    /// Text that is appended to the kernel command line.
    pub args: String,
    /// True keeps all of /usr/share/doc. False keeps only the copyright files.
    pub docs: bool,
    /// True keeps manual pages and info files.
    pub man: bool,
    /// Folders of /usr/share/locale that stay, for instance `de`.
    pub locales: Vec<String>,
    /// More files to leave out: patterns over absolute paths.
    pub drop: Vec<Pattern>,
    /// Units that must work where a device has no baseline yet.
    pub health_units: Vec<String>,
}

/// Reads the keys of the `kernel` action.
pub(in crate::recipe) fn read_kernel(keys: &mut Keys) -> Result<Kernel, RecipeError> {
    let modules = read_patterns(keys, "modules")?;
    Ok(Kernel { modules, btf: keys.flag("btf")?.unwrap_or(true) })
}

fn read_patterns(keys: &mut Keys, name: &'static str) -> Result<Option<Vec<Pattern>>, RecipeError> {
    let list = keys.list(name)?;
    Ok(list.map(|list| list.into_iter().map(|(text, place)| Pattern { text, place }).collect()))
}

/// Reads the keys of the `bundle` action.
pub(in crate::recipe) fn read_bundle(keys: &mut Keys) -> Result<BundleSettings, RecipeError> {
    let (compatible, place) = keys.required("compatible")?;
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if compatible.is_empty() || !compatible.chars().all(word) {
        return Err(place.error("`compatible` is one word of letters, digits, `-`, `_` and `.`"));
    }
    let min_version = match keys.text_at("min-version")? {
        None => semver::Version::new(0, 0, 0),
        Some((text, place)) => semver::Version::parse(&text).map_err(|e| {
            place.error(format_args!("`min-version: {text}` is not a version like 1.2.3: {e}"))
        })?,
    };
    let args = keys.text_at("args")?;
    if let Some((args, place)) = &args
        && args.chars().any(|c| c.is_control() || "\"$\\'`".contains(c))
    {
        // GRUB reads slot.cfg, and quoting in GRUB is easy to get wrong.
        return Err(place.error("`args` cannot hold quotes, `$`, `\\` or line breaks"));
    }
    Ok(BundleSettings {
        compatible,
        description: keys.text("description")?.unwrap_or_default(),
        min_version,
        args: args.map(|(args, _)| args).unwrap_or_default(),
        docs: keys.flag("docs")?.unwrap_or(false),
        man: keys.flag("man")?.unwrap_or(false),
        locales: keys.texts("locales")?.unwrap_or_default(),
        drop: read_patterns(keys, "drop")?.unwrap_or_default(),
        health_units: read_units(keys)?,
    })
}

fn read_units(keys: &mut Keys) -> Result<Vec<String>, RecipeError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let units = keys.list("health-units")?.unwrap_or_default();
    let check = |(name, place): (String, Place)| {
        let kind = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|parts| parts.1);
        let is_unit = matches!(kind, Some("service" | "socket" | "mount" | "timer"));
        if !is_unit || !name.chars().all(allowed) {
            return Err(place.error(format_args!(
                "`health-units` has `{name}`, which is not the name of a .service, .socket, \
                    .mount or .timer"
            )));
        }
        Ok(name)
    };
    units.into_iter().map(check).collect()
}

/// Reads the keys of the `image` action.
pub(in crate::recipe) fn read_image(keys: &mut Keys) -> Result<Layout, RecipeError> {
    let place = keys.place.clone();
    let mut layout = Layout::default();
    let Layout { esp, boot, root, recovery, var } = &mut layout;
    for (name, size) in
        [("esp", esp), ("boot", boot), ("root", root), ("recovery", recovery), ("var", var)]
    {
        if let Some(bytes) = keys.size(name)? {
            *size = bytes;
        }
    }
    layout.validate().map_err(|e| place.error(format_args!("the image action: {e}")))?;
    Ok(layout)
}
