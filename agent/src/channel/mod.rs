//! Updates from a channel: getting it, deciding, installing, and the daemon's looking by itself.
//! `docs/channels.md` says what a channel is; what a device does with one is decided in
//! `bundle::channel`.

mod contact;
mod facts;
mod json;
mod plan;
mod poll;
mod refresh;
mod report;
mod show;
mod source;
mod update;
mod withdrawal;

pub use json::{Asked, Trusted};
pub use plan::check;
pub(crate) use poll::poll;
pub use show::show;
pub use update::update;
