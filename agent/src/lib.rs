//! The device side of Daruma. It installs bundles into the idle slot and checks the health of each
//! boot. Then it commits the system or goes back to the old one, and says why.
//!
//! `grub-env` alone decides which slot boots, and `bundle` what a bundle is. [`Device`] says where
//! everything is. The verbs are [`install()`], [`mark`], [`roll_back`], [`factory_reset()`],
//! [`Status::gather`] and [`daemon::run`]. [`channel`] has the verbs that follow a channel.
//!
//! Read from the bottom: `device`, `config`, then `trust`, `status`, `health` and `pull`, then
//! `install`, then `channel` and `stick`, then `daemon`.

#[cfg(feature = "pull")]
pub mod channel;
pub mod config;
pub mod console;
pub mod daemon;
mod device;
mod exit;
pub mod health;
mod install;
mod interrupt;
mod progress;
#[cfg(feature = "pull")]
mod pull;
mod status;
mod stick;
mod trust;

pub use config::Config;
pub use daemon::arrival::settle;
pub use daemon::commit::commit;
pub use daemon::person::factory_reset::{cancel_reset, factory_reset};
pub use daemon::person::mark::{Mark, mark, roll_back};
#[cfg(feature = "provision")]
pub use daemon::person::provision;
pub use daemon::recovery_copy;
pub use device::Device;
pub use device::command_line::{Booted, CommandLine};
pub use device::disk::opener::{Access, AnyDisk, Opener};
pub use device::lock::Lock;
pub use device::slot::running::Reading;
pub use device::slot_config::SlotConfig;
pub use exit::{Exit, Failure};
pub use install::command::install;
pub use install::flip::install_bundle;
pub use install::origin::{Expect, Options as InstallOptions, Origin};
pub use interrupt::Interrupt;
#[cfg(feature = "pull")]
pub use pull::{Document, fetch};
#[cfg(feature = "etc")]
pub use status::etc;
pub use status::{SlotStatus, Status, state};
pub use stick::recovery;
