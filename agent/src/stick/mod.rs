//! USB sticks: found, judged and installed from, in the running system and in recovery.
//! Leaves the rules and the writing of an install to `install`.
//! Read: `volume/`, `offer`, `choice`, `result`, `led`, `sticks`, then `running` and `recovery`.

mod choice;
mod led;
mod offer;
pub mod recovery;
mod result;
pub(crate) mod running;
mod sticks;
mod volume;
