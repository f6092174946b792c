//! How a boot ends that starts no system: a failure, or recovery.
//!
//! The agent installs a system, and recovery starts the agent. Read `failure`, `recovery`.

pub(crate) mod failure;
pub(crate) mod recovery;
