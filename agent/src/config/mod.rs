//! `/etc/daruma/daruma.toml`: what an administrator may set.
//! Leaves to each user what a value means there.
//! Read: `file`, then a section.

mod channel;
mod file;
mod pull;
mod window;

pub use channel::{Channel, Reboot};
pub use file::{Config, DEFAULT_FILE, FILE, Health, Recovery, Usb, UsbPolicy, Watchdog};
pub use pull::Pull;
pub use window::Window;
