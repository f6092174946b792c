//! The actions of a recipe: the keys of each, its checks, and the plain struct for the build.
//!
//! `assemble` calls the readers, and `bundling` does what an action says. docs/recipes.md describes
//! each key.
//! Read `step`, then `system` (packages and scripts), `files`, `origin`, `archive`, `disk`, `own`
//! with `packing`, `tables`.

mod archive;
mod disk;
mod files;
mod origin;
mod own;
mod packing;
mod step;
mod system;
mod tables;

pub use archive::{Archive, Compression};
pub use disk::{Deploy, Disk, ENTRIES_BYTES, Filesystem, Mountpoint, Partition, Raw, Sectors};
pub use files::{Download, Overlay, Pack, Unpack};
pub use origin::{From, Origin, matching};
pub use own::{BundleSettings, Firmware, Kernel, MODULE_SETS, Part, Pattern, Vendor};
pub use packing::Packing;
pub use step::{Action, Step};
pub use system::{Apt, Bootstrap, InstallDeb, Program, Run};

pub(in crate::recipe) use origin::Origins;
pub(in crate::recipe) use own::{read_bundle, read_image, read_kernel};
pub(in crate::recipe) use step::read;
pub(in crate::recipe) use system::read_bootstrap;
pub(in crate::recipe) use tables::{ELSEWHERE, ONCE, RECIPE, TOP, all, table};
