//! The device side of Daruma: installs bundles into the idle slot, checks health after the reboot,
//! commits or falls back, and tells what happened.
//!
//! [`Device`] says where everything is; the verbs are [`install`], [`mark`], [`roll_back`],
//! [`Status::gather`] and [`daemon::run`]; [`channel`] has those that follow a channel. Which slot
//! boots is decided by `grub-env`'s state alone; what a bundle is, by `bundle`.

mod arrival;
mod boot_image;
#[cfg(feature = "pull")]
pub mod channel;
mod chunk_reader;
mod cmdline;
mod commit;
pub mod config;
pub mod console;
pub mod daemon;
#[cfg(feature = "pull")]
mod delta_source;
mod device;
mod direct_disk;
mod environment;
mod exit;
pub mod health;
mod identity;
mod init_report;
mod install;
mod interrupt;
mod keepalive;
mod led;
mod lock;
mod notify;
mod offer;
mod opener;
mod partitions;
mod plan;
mod progress;
#[cfg(feature = "pull")]
mod pull;
mod reboot;
pub mod recovery;
pub mod recovery_copy;
mod running_slot;
mod slot_config;
mod slot_target;
mod slot_writer;
mod span;
pub mod state;
mod status;
mod status_text;
mod stick;
mod stick_install;
mod stick_result;
mod sys;
mod trust;
mod uevents;
mod usb;
mod verbs;
mod volumes;
mod watchdog;
#[cfg(feature = "pull")]
mod web_install;

pub use arrival::settle;
pub use cmdline::{Booted, CommandLine};
pub use commit::commit;
pub use config::Config;
pub use device::Device;
pub use exit::{Exit, Failure};
pub use install::{Expect, Options as InstallOptions, Origin, install, install_bundle};
pub use interrupt::Interrupt;
pub use lock::Lock;
pub use opener::{Access, AnyDisk, Opener};
#[cfg(feature = "pull")]
pub use pull::{Document, fetch};
pub use running_slot::Reading;
pub use slot_config::SlotConfig;
pub use status::{SlotStatus, Status};
pub use verbs::{Mark, mark, roll_back};
