//! A channel: what is published, whether it is believed, and what to do about it.
//! Leaves to `bundle::channel` what a channel means for a device, to `install` the writing.
//! Read: `contact/`, `facts`, `withdrawal`, `plan`, `asked`, `update`, `show`.

mod asked;
mod contact;
mod facts;
pub(crate) mod plan;
mod show;
pub(crate) mod update;
mod withdrawal;

pub use asked::{Asked, Trusted};
pub(crate) use contact::source::Source;
pub use plan::check;
pub use show::show;
pub use update::update;
