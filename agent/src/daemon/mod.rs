//! One boot's verdict: check the system, commit it or give it up, then wait for updates.
//! Leaves the checks to `health`, installing to `stick` and `channel`.
//! Read: `service`, `arrival`, `commit`, `recovery_copy`, `poll`, `alive/`; `mark` is a person's.

mod alive;
pub(crate) mod arrival;
pub(crate) mod commit;
pub(crate) mod mark;
#[cfg(feature = "pull")]
mod poll;
pub mod recovery_copy;
pub(crate) mod service;

pub use service::{CHECKING, DEGRADED, HEALTHY, run};
