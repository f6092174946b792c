//! `/etc/daruma/daruma.toml`: what an administrator can set. The users of a value decide what it
//! means for them.
//! Read: `file`, `sections`, `channel`, `window`, `pull`, `numbers`, `unit_pattern`.

mod channel;
mod file;
mod numbers;
mod pull;
mod sections;
mod unit_pattern;
mod window;

pub use channel::{Channel, Reboot};
pub(crate) use file::makeshift_line;
pub use file::{Config, DEFAULT_FILE, FILE};
pub use pull::Pull;
pub use sections::{Baseline, Health, Provision, Recovery, Usb, UsbPolicy, Watchdog};
pub use unit_pattern::UnitPattern;
pub use window::Window;
