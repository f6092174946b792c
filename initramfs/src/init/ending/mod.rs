//! How a boot ends that starts no system: a failure, or recovery.
//!
//! Installing a system is left to the agent, which recovery starts.
//! Read `failure`, `recovery`.

pub(crate) mod failure;
pub(crate) mod recovery;
