//! Reads a recipe, which says what an image is built from, and checks it before anything runs.
//!
//! `bundling` does what a recipe says. `docs/recipes.md` lists all keys.
//! Read `whole`, `action`, `load`, `assemble`, then `template`, `yaml`, `listing` and `schema`.
//!
//! The form is that of debos: a Go template of YAML with `architecture` and a list of `actions`.
//! debos passes over unknown keys. Here every unknown key is an error with its line.

mod action;
mod assemble;
mod listing;
mod load;
mod schema;
mod template;
mod whole;
mod yaml;

pub use action::{
    Action, Apt, Archive, Bootstrap, BundleSettings, Compression, Deploy, Disk, Download,
    ENTRIES_BYTES, Filesystem, Firmware, From, InstallDeb, Kernel, MODULE_SETS, Mountpoint, Origin,
    Overlay, Pack, Packing, Part, Partition, Pattern, Program, Raw, Run, Sectors, Step, Unpack,
    Vendor, matching,
};
pub use listing::Line;
pub use schema::schema;
pub use whole::{Options, Recipe};
pub use yaml::{Place, RecipeError};
