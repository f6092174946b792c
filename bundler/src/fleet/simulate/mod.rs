//! A fleet of simulated devices that polls one channel while a release is rolled out. What a device
//! does is decided by the function that decides it on real ones ([`bundle::channel::decide`]), and
//! the roll-out is stopped by the rule that stops real ones ([`crate::fleet::watch`]). Time is
//! virtual, nothing is sent, and one seed gives one result.

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
