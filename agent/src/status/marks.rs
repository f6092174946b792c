//! The files in `/run` that say how far the daemon is with this boot's health.
//!
//! The daemon writes them. `gather` and the systemd units read them. `/run` is in memory, so a
//! reboot removes them.

/// Exists once this boot's health checks have passed. The trial-deadline unit looks for it.
pub const HEALTHY: &str = "/run/daruma/healthy";
/// Exists while the system is not healthy and there is nothing better to boot. Holds the reason.
pub const DEGRADED: &str = "/run/daruma/degraded";
/// Exists while the daemon runs this boot's health checks.
pub const CHECKING: &str = "/run/daruma/checking";
