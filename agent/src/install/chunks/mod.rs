//! The chunks of a bundle on their way into a slot: plan, spans, reading, writing, comparing.
//! Leaves to `install` whether the bundle may be written, and when it boots.
//! Read: `plan`, `span`, `reader`, `writer`.

pub(crate) mod plan;
pub(crate) mod reader;
pub(crate) mod span;
pub(crate) mod writer;
