//! Channels: signed lists of releases, and the root document that says whose signatures count.
//!
//! Everything here works on bytes and plain data; fetching, keeping and telling are left to the
//! agent, writing a repository to the bundler. `docs/channels.md` has the formats.

mod decision;
mod document;
mod error;
mod kind;
mod later;
mod location;
mod report;
mod rollout;
mod root;
mod signed;
mod time;

pub use decision::{Decision, Facts, PassedOver, Reason, Verdict, decide};
pub use document::{Channel, Delta, Release};
pub use error::ChannelError;
pub use kind::Kind;
pub use later::Later;
pub use location::Location;
pub use report::{Outcome, Report};
pub use rollout::Rollout;
pub use root::{Role, Roles, Root};
pub use signed::Signed;
pub use time::Timestamp;
