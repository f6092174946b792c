//! What a person or a program is told about the device, and what the agent remembers for it.
//! Leaves every decision to others: nothing here chooses what boots.
//! Read: `state`, `init_report`, `gather`, `text`.

mod gather;
pub(crate) mod init_report;
pub mod state;
mod text;

pub use gather::{SlotStatus, Status};
