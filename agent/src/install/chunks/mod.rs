//! The chunks of a bundle on their way into a slot: plan, spans, reading, writing, comparing.
//! Leaves to `install` whether the bundle may be written, and when it boots.
//! Read: `job`, `held`, `plan`, `span`, `delta_way`, `reader`, `compare`, `writer`.

mod compare;
pub(crate) mod delta_way;
mod held;
pub(crate) mod job;
pub(crate) mod plan;
mod reader;
mod span;
pub(crate) mod writer;
