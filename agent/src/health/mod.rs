//! Health: the checks that must pass, and the units that must work, before a system is committed.
//! `daemon` decides what follows when they do not.
//! Read: `checks`, `check`, `command`, `probes`, `units/`.

mod check;
mod checks;
mod command;
mod probes;
pub mod units;

pub use check::Failed;
pub use checks::{Checks, FOLDER};
