//! Health: what must hold before a system is committed.
//! Leaves to `daemon` what follows when it does not hold.
//! Read: `checks`, `check`, `command`, `probes`.

mod check;
mod checks;
mod command;
mod probes;

pub use check::Failed;
pub use checks::{Checks, FOLDER};
