//! Brings the chunks of a bundle into a slot: plans, reads, writes and compares them. `install`
//! decides if the bundle may be written, and when the slot boots.
//! Read: `job`, `held`, `plan`, `span`, `delta_way`, `reader`, `compare`, `writer`.

mod compare;
pub(crate) mod delta_way;
mod held;
pub(crate) mod job;
pub(crate) mod plan;
mod reader;
mod span;
pub(crate) mod writer;
