//! One boot's verdict: check the system, commit it or give it up, then wait for updates.
//! Leaves the checks to `health`, installing to `stick` and `channel`.
//! Read: `service`, `verdict`, `arrival`, `commit`, `updates`, `alive/`; `mark` is a person's.

mod alive;
pub(crate) mod arrival;
pub(crate) mod commit;
pub(crate) mod mark;
#[cfg(feature = "pull")]
mod poll;
pub mod recovery_copy;
mod service;
mod updates;
mod verdict;

pub use crate::status::marks::{CHECKING, DEGRADED, HEALTHY};
pub use service::run;
