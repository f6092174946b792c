//! Health: the checks that must pass before a system is committed. `daemon` decides what follows
//! when they do not pass.
//! Read: `checks`, `check`, `command`, `probes`.

mod check;
mod checks;
mod command;
mod probes;

pub use check::Failed;
pub use checks::{Checks, FOLDER};
