//! How daruma-init ends without starting a system: a failure, recovery, or a shutdown.
//!
//! The agent installs a system, and recovery starts the agent. Read `failure`, `recovery`,
//! `shutdown`.

pub(crate) mod failure;
pub(crate) mod recovery;
pub(crate) mod shutdown;
