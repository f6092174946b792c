//! Decides from a server's log when a failing release is stopped.
//!
//! `repo` withdraws the release. A static server keeps an access log, and devices report there what
//! became of a release ([`bundle::channel::Report`]).
//! Read `finding`, `tally`, `rule`.

mod finding;
mod rule;
mod tally;

pub use finding::{Finding, findings};
pub use rule::StopRule;
pub use tally::{Results, Tally};
