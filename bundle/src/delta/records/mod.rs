//! The steps of a delta, as bytes and as types.
//!
//! `workers` and `apply` do what a step says. Read `record`, then what some records hold: `patch`,
//! `frame`, and the `mix` of both.

pub(crate) mod frame;
pub(crate) mod mix;
pub(crate) mod patch;
pub(crate) mod record;
