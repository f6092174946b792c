//! What a person or a program is told about the device, and what the agent remembers for it.
//! Leaves every decision to others: nothing here chooses what boots.
//! Read: `state`, `state_file`, `init_report`, `marks`, `gather`, `text`.

mod gather;
pub(crate) mod init_report;
pub(crate) mod marks;
pub mod state;
pub(crate) mod state_file;
mod text;

pub use gather::{SlotStatus, Status};
