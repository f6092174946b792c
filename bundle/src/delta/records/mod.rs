//! The steps of a delta, as bytes and as types.
//!
//! Doing what a step says is left to `workers` and to `apply`.
//! Read `record`, then what some records hold: `patch`, `frame`, and the `mix` of both.

pub(crate) mod frame;
pub(crate) mod mix;
pub(crate) mod patch;
pub(crate) mod record;
