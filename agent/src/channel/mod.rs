//! A channel: which releases are published, if their list is trusted, and what the device does.
//! `bundle::channel` decides what a channel means for a device, and `install` writes the slot.
//! Read: `contact/`, `facts`, `withdrawal`, `step`, `asked`, `plan`, `update`, `trusted`, `show`.

mod asked;
mod contact;
mod facts;
pub(crate) mod plan;
mod show;
pub(crate) mod step;
mod trusted;
pub(crate) mod update;
mod withdrawal;

pub use asked::Asked;
pub(crate) use contact::source::Source;
pub use plan::check;
pub use show::show;
pub use trusted::Trusted;
pub use update::update;
