//! The keys of all actions, for messages, for `daruma-bundler schema` and for the reader.
//!
//! Each table stands beside the reader of its action.

use crate::recipe::action::{disk, files, own, system};
use crate::recipe::yaml::{Field, Table};

/// The keys of a file.
pub(in crate::recipe) const TOP: &[Field] = &[
    Field::text("architecture", "Debian's name of the architecture, such as amd64."),
    Field::text("extends", "Another recipe, whose actions come first."),
    Field::text("sectorsize", "Bytes of a sector of the disk: 512 or 4096."),
    Field::mappings("actions", &[], "What is done, one after the other."),
];

/// The `recipe` action.
pub(in crate::recipe) const RECIPE: Table = Table {
    name: "recipe",
    about: "Does the actions of another recipe at this place.",
    fields: &[
        Field::text("recipe", "The file, relative to this one.").required(),
        Field::pairs("variables", "Template variables for that file. It sees no others."),
    ],
};

/// Actions that an image has once. A second one of the same name, in a variant, changes keys of the
/// first.
pub(in crate::recipe) const ONCE: &[&str] =
    &["mmdebstrap", "debootstrap", "kernel", "bundle", "image"];

/// Actions of debos that are understood and refused, each with what to use instead.
pub(in crate::recipe) const ELSEWHERE: &[(&str, &str)] = &[
    ("pacstrap", "Daruma builds Debian systems: use `mmdebstrap`"),
    ("pacman", "Daruma builds Debian systems: use `apt`"),
    ("ostree-commit", "Daruma updates whole images: use `bundle`, which makes a signed update"),
    ("ostree-deploy", "Daruma updates whole images: use `bundle` and `image`"),
];

/// All actions.
pub(in crate::recipe) fn all() -> impl Iterator<Item = &'static Table> {
    const ALL: &[&Table] = &[
        &system::MMDEBSTRAP,
        &system::APT,
        &files::OVERLAY,
        &system::RUN,
        &RECIPE,
        &own::KERNEL,
        &own::BUNDLE,
        &own::IMAGE,
        &system::DEBOOTSTRAP,
        &system::INSTALL_DEB,
        &files::DOWNLOAD,
        &files::UNPACK,
        &files::PACK,
        &disk::IMAGE_PARTITION,
        &disk::FILESYSTEM_DEPLOY,
        &disk::RAW,
    ];
    ALL.iter().copied()
}

/// Returns the table of an action.
pub(in crate::recipe) fn table(name: &str) -> Option<&'static Table> {
    all().find(|table| table.name == name)
}
