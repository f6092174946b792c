//! `RECIPE.lock`: exactly what a build has taken, so that a later build can take it again.
//!
//! `bundling::rootfs` drives apt with it, and `verbs` chooses when. Read `file` (the format) with
//! `request` and `accounts`, `note` (what a build notes) with `signers`, `store` (package files by
//! their hash), `archive` (the small archive that apt is shown), then `changes`.

mod accounts;
mod archive;
mod changes;
mod file;
mod note;
mod request;
mod signers;
mod store;

pub use accounts::Accounts;
pub(crate) use archive::write_archive;
pub use changes::changes;
pub(crate) use file::sum_of;
pub use file::{FORMAT, Lock, LockError, Origin, Package, Suite};
pub(crate) use note::{Notes, check};
pub use request::Request;
pub use store::Store;
