//! A fleet of simulated devices that polls one channel while a release is rolled out.
//!
//! What a device does is left to [`bundle::channel::decide`], and when the roll-out is stopped to
//! [`crate::fleet::watch`], as on real devices. Time is virtual, and one seed gives one result.
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
