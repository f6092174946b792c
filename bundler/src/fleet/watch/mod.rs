//! Stopping a release that fails.
//!
//! Withdrawing it is left to `repo`. A static server cannot think, but it keeps an access log, and
//! devices say in it what became of a release ([`bundle::channel::Report`]).
//! Read `finding`, `tally`, `rule`.

mod finding;
mod rule;
mod tally;

pub use finding::{Finding, findings};
pub use rule::StopRule;
pub use tally::{Results, Tally};
