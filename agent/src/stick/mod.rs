//! USB sticks: finds them, judges their bundles and installs, in the running system and in
//! recovery. `install` has the rules and writes the slot.
//! Read: `volume/`, `offer`, `choice`, `result`, `led`, `sticks`, then `running` and `recovery`.

mod choice;
mod led;
mod offer;
pub mod recovery;
mod result;
pub(crate) mod running;
mod sticks;
mod volume;
