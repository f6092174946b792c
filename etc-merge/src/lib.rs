//! The merge of /etc: three folders in, one folder and a report out.
//!
//! The caller mounts the folders, syncs and renames the result, and keeps the report. This crate
//! only reads the three folders and writes below the target that the caller names.
//!
//! *base* is the old image's /etc, *upper* is the old upper of the overlay, *mine* is what the
//! device saw (upper over base), *theirs* is the new image's /etc. [`build`] is the whole of it for
//! a boot. [`plan`] computes the same and writes nothing. `docs/etc.md` has the rules.
#![forbid(unsafe_code)]

pub mod accounts;
mod actions;
mod build;
mod differences;
mod error;
mod escaped;
pub mod limits;
mod merge;
mod policy;
mod report;
mod sides;
mod three;
mod tree;
mod write;

pub use accounts::renumbered::{AccountKind, Renumbered, renumbered};
pub use actions::{Action, Body, Plan};
pub use build::build;
pub use differences::{Change, Difference, differences, hiding};
pub use error::Error;
pub use escaped::escaped;
pub use limits::Beat;
pub use merge::plan;
pub use policy::Policy;
pub use report::{Counts, Line, Method, Outcome, Report};
pub use sides::Sides;
pub use tree::entry::Meta;
pub use tree::marks::Marks;
pub use tree::unchanged::{SUMS, Unchanged};
pub use write::mine_wins;
