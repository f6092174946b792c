//! The daemon: checks a boot, commits the system or gives it up, then waits for updates. `health`
//! runs the checks, and `stick` and `channel` install updates.
//! Read: `service`, `verdict`, `arrival`, `commit`, `updates`, `alive/`; `person/` is for a
//! person.

mod alive;
pub(crate) mod arrival;
pub(crate) mod commit;
pub(crate) mod person;
#[cfg(feature = "pull")]
mod poll;
pub mod recovery_copy;
mod service;
mod updates;
mod verdict;

pub use crate::status::marks::{CHECKING, DEGRADED, HEALTHY};
pub use service::run;
