//! Threads that apply patches while earlier results are written.
//!
//! `records` knows what a patch says, and `apply` puts the results together. Read `ahead`,
//! `worker`, `dictionary`.

pub(crate) mod ahead;
pub(crate) mod dictionary;
pub(crate) mod worker;
