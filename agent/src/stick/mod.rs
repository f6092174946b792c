//! USB sticks: finds them, judges their bundles and installs, in the running system and in
//! recovery. `install` has the rules and writes the slot. `provision` takes credentials.
//! Read: `volume/`, `offer`, `choice`, `provision`, `result`, `led`, `sticks`, then `running` and
//! `recovery`.

mod choice;
mod led;
mod offer;
mod provision;
pub mod recovery;
mod result;
pub(crate) mod running;
mod sticks;
mod volume;
