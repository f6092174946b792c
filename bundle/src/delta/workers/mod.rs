//! Threads that apply patches while earlier ones are written.
//!
//! What a patch says is left to `records`, and putting the results together to `apply`.
//! Read `ahead`, `worker`, `dictionary`.

pub(crate) mod ahead;
pub(crate) mod dictionary;
pub(crate) mod worker;
