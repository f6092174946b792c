//! Channels: signed lists of releases, and what a device makes of them.
//!
//! The agent fetches and keeps channels, and reports to people. The bundler writes repositories.
//! Read `document`, then `decision`, then `report`. `docs/channels.md` has the formats.

mod decision;
mod document;
mod report;

pub use decision::{Decision, Facts, PassedOver, Reason, Verdict, decide};
pub use document::channel::{Channel, Delta, Release};
pub use document::error::ChannelError;
pub use document::kind::Kind;
pub use document::later::Later;
pub use document::location::Location;
pub use document::rollout::Rollout;
pub use document::root::{Role, Roles, Root};
pub use document::signed::Signed;
pub use document::time::Timestamp;
pub use report::{Outcome, Report};
