//! What the agent remembers of the device, and what it shows to a person or a program. Other
//! modules decide: nothing here chooses what boots.
//! Read: `state`, `state_file`, `init_report`, `marks`, `var`, `root`, `etc`, `gather`, `text`.

#[cfg(feature = "etc")]
pub mod etc;
mod gather;
pub(crate) mod init_report;
pub(crate) mod marks;
mod root;
pub mod state;
pub(crate) mod state_file;
mod text;
pub(crate) mod var;

pub use gather::{SlotStatus, Status};
