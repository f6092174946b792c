//! Units as a measure of health: what was active in the last committed system must be active on
//! trial. `checks` asks `watch`, `daemon` runs `keeper`, and `status` shows `report`.
//! Read: `unit`, `standing`, `baseline`, `watch`, `systemd`, `keeper`, `report`.

mod baseline;
pub(crate) mod keeper;
pub(crate) mod report;
mod standing;
mod systemd;
mod unit;
pub(crate) mod watch;

pub use baseline::Baseline;
pub use report::UnitsStatus;
pub use unit::{parse_units, parse_wanted};
