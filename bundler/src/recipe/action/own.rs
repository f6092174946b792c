//! Daruma's own actions: `kernel`, `bundle` and `image`.
//!
//! They say what the signed update and its disk are like.

use image_layout::Layout;

use crate::recipe::action::packing::{COMPRESSORS, Packing, read_packing};
use crate::recipe::yaml::{Field, Keys, Place, RecipeError, Table};

pub(super) const KERNEL: Table = Table {
    name: "kernel",
    about: "Chooses the kernel's modules.",
    fields: &[
        Field::texts("modules", "Patterns of the modules that stay, with what these need."),
        Field::words("module-sets", MODULE_SETS, "More modules that stay, by name."),
        Field::flag("btf", "False leaves the modules' types for BPF programs out."),
        Field::flag("unwind", "False leaves the modules' tables for stack traces out."),
        Field::flag("signatures", "False strips the modules of the initramfs."),
        Field::word("firmware", FIRMWARE, "Firmware files that stay: all, or what modules name."),
        Field::words("microcode", VENDORS, "Vendors whose microcode the kernel gets at boot."),
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
        Field::words("without", PARTS, "Parts of Debian that a device does not need."),
        Field::word("compression", COMPRESSORS, "Packs the root image."),
        Field::text("level", "Level of the compression; zstd: 1 to 4 and 18 to 22."),
        Field::text("module-level", "zstd's level for the kernel's modules."),
        Field::text("block-size", "Bytes that are packed together: 128K to 1M."),
        Field::texts("secrets", "Patterns of private keys that stay in the image on purpose."),
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

/// The names of sets of modules, which `bundling::system::module_sets` knows.
pub const MODULE_SETS: &[&str] = &[
    "bluetooth",
    "can",
    "cluster",
    "datacenter",
    "guest",
    "raid",
    "sensors",
    "serial",
    "sound",
    "wifi",
];

/// The names of [`Firmware`], in its order.
const FIRMWARE: &[&str] = &["all", "auto"];
/// The names of [`Vendor`], in its order.
const VENDORS: &[&str] = &["intel", "amd"];

/// The firmware files that stay in the image.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Firmware {
    /// All that the packages bring.
    #[default]
    All,
    /// Those that the modules of the image name, and those that no package brought.
    Auto,
}

/// A maker of processors, whose microcode an image can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD.
    Amd,
}

impl Vendor {
    /// Returns the name in a recipe.
    #[must_use]
    pub fn name(self) -> &'static str {
        VENDORS[self as usize]
    }
}

/// The names of [`Part`], in its order.
const PARTS: &[&str] = &["apt", "dpkg", "gconv", "hwdb", "perl"];

/// A part of Debian that an image can be without, which `bundling::system::without` knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// apt, its keys and its state.
    Apt,
    /// The programs of dpkg and debconf, and the scripts of packages. The list of packages stays.
    Dpkg,
    /// Conversions between character sets. glibc itself knows UTF-8.
    Gconv,
    /// The hardware database, without what names network interfaces.
    Hwdb,
    /// Perl and all Perl scripts.
    Perl,
}

impl Part {
    const ALL: [Self; 5] = [Self::Apt, Self::Dpkg, Self::Gconv, Self::Hwdb, Self::Perl];

    /// Returns the name in a recipe.
    #[must_use]
    pub fn name(self) -> &'static str {
        PARTS[self as usize]
    }
}

/// The `kernel` action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Patterns of the modules that stay, together with the modules that these need. `None`: all
    /// stay.
    pub modules: Option<Vec<Pattern>>,
    /// Names of sets of modules that stay too.
    pub module_sets: Vec<&'static str>,
    /// True keeps the types for BPF programs, and with them the signatures, in all modules.
    pub btf: bool,
    /// True keeps the tables for stack traces, and with them the signatures, in all modules.
    pub unwind: bool,
    /// False leaves types and signatures out of the modules of the initramfs and of recovery.
    pub signatures: bool,
    /// The firmware files that stay.
    pub firmware: Firmware,
    /// Vendors whose microcode goes in front of the initramfs, each with its place in the recipe.
    pub microcode: Vec<(Vendor, Place)>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            modules: None,
            module_sets: Vec::new(),
            btf: true,
            unwind: true,
            signatures: true,
            firmware: Firmware::default(),
            microcode: Vec::new(),
        }
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
    /// Parts that are left out.
    pub without: Vec<Part>,
    /// How the root image is packed.
    pub packing: Packing,
    /// Secrets that stay: patterns over absolute paths.
    pub secrets: Vec<Pattern>,
}

/// Reads the keys of the `kernel` action.
pub(in crate::recipe) fn read_kernel(keys: &mut Keys) -> Result<Kernel, RecipeError> {
    let modules = read_patterns(keys, "modules")?;
    let module_sets = keys.words("module-sets", MODULE_SETS)?.unwrap_or_default();
    let mut flag = |name| Ok::<_, RecipeError>(keys.flag(name)?.unwrap_or(true));
    let (btf, unwind, signatures) = (flag("btf")?, flag("unwind")?, flag("signatures")?);
    let is_auto = keys.word("firmware", FIRMWARE)? == Some(FIRMWARE[Firmware::Auto as usize]);
    let firmware = if is_auto { Firmware::Auto } else { Firmware::All };
    let microcode = keys.words_at("microcode", VENDORS)?.unwrap_or_default().into_iter();
    let vendor = |(name, place)| {
        let vendor = [Vendor::Intel, Vendor::Amd].into_iter().find(|other| other.name() == name);
        vendor.map(|vendor| (vendor, place))
    };
    let microcode = microcode.filter_map(vendor).collect();
    Ok(Kernel { modules, module_sets, btf, unwind, signatures, firmware, microcode })
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
        without: read_parts(keys)?,
        packing: read_packing(keys)?,
        secrets: read_patterns(keys, "secrets")?.unwrap_or_default(),
    })
}

fn read_parts(keys: &mut Keys) -> Result<Vec<Part>, RecipeError> {
    let names = keys.words("without", PARTS)?.unwrap_or_default();
    Ok(Part::ALL.into_iter().filter(|part| names.contains(&part.name())).collect())
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
