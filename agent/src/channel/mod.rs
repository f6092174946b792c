//! A channel: what is published, whether it is believed, and what to do about it.
//! Leaves to `bundle::channel` what a channel means for a device, to `install` the writing.
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
