//! What a finished system holds: sizes, differences, and the list of its packages.
//!
//! `release` makes bundles and `bundling` the tars. This folder only reads them.
//! Read `system`, `text`, `paragraph`, `package`, `owner`, then `size`, `difference` and `spdx`.

mod difference;
mod owner;
mod package;
mod paragraph;
mod size;
mod spdx;
mod system;
mod text;

pub use difference::Diff;
pub use package::Package;
pub use size::{By, Sizes};
pub use spdx::write_beside;
pub use system::{System, SystemError};
pub use text::plain;
