//! Simulates a fleet of devices that polls one channel during a roll-out.
//!
//! [`bundle::channel::decide`] decides what a device does, and [`crate::fleet::watch`] decides when
//! the roll-out is stopped. Real devices use the same code. Time is virtual, and one seed gives one
//! result.
//! Read `scenario`, `fleet`, `device`, `server`, `window`, then `run`, `table`, `svg`.

mod device;
mod fleet;
mod run;
mod scenario;
mod server;
mod svg;
mod table;
mod window;

pub use run::{Downloads, Run, Sample, Stop};
pub use scenario::{DAYS_MAX, DEVICES_MAX, Offer, Scenario};
pub use server::Traffic;
pub use window::Window;
