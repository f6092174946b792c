//! Runs the health checks of a device in rounds.
//!
//! `check` runs one check, and `units` looks at the units. A round runs the built-in checks first,
//! then the executables of `/etc/daruma/health.d` by name. It ends at its first failed check.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::device::Device;
use crate::health::check::{Check, Failed};
use crate::health::units::watch::{Look, Watch};

/// Folder of a system's own checks.
pub const FOLDER: &str = "/etc/daruma/health.d";

/// The checks of a device, ready to run.
#[derive(Debug)]
pub struct Checks {
    checks: Vec<Check>,
    units: Option<Watch>,
    timeout: Duration,
    retry: Duration,
    deadline: Duration,
}

impl Checks {
    /// Returns the checks that the configuration and the folder ask for.
    ///
    /// A folder or file that cannot be read becomes a check that fails. A system whose checks
    /// cannot run has not proved anything.
    #[must_use]
    pub fn of(device: &Device, config: &config::Health) -> Self {
        let mut checks = builtin(device, config);
        let folder = device.path(FOLDER);
        match executables(&folder) {
            Ok(paths) => checks.extend(paths.into_iter().map(Check::Executable)),
            Err(error) => checks.push(Check::Impossible {
                name: folder.display().to_string(),
                cause: error.to_string(),
            }),
        }
        Self {
            checks,
            units: None,
            timeout: config.check_timeout,
            retry: config.retry,
            deadline: config.deadline,
        }
    }

    /// Asks for the units of `watch` too.
    #[must_use]
    pub(crate) fn with_units(self, watch: Option<Watch>) -> Self {
        Self { units: watch, ..self }
    }

    /// Returns the number of units that must work.
    #[must_use]
    pub fn unit_count(&self) -> usize {
        self.units.as_ref().map_or(0, Watch::count)
    }

    /// Returns the number of checks.
    #[must_use]
    pub fn count(&self) -> usize {
        self.checks.len()
    }

    /// Runs rounds until one passes and all units work at two looks in a row. Ends early if a unit
    /// is lost. After the deadline, one look at the units is enough. The error is what failed last.
    pub async fn until_deadline(&mut self) -> Result<(), Failed> {
        let end = Instant::now() + self.deadline;
        loop {
            let look = self.look(Some(end)).await;
            if let Look::Lost(failed) = look {
                return Err(failed);
            }
            let round = self.round(Some(end)).await;
            let is_last = Instant::now() + self.retry >= end;
            match (round, look) {
                (Ok(()), Look::Fine) => return Ok(()),
                (Ok(()), Look::FineOnce) if is_last => return Ok(()),
                (Err(failed), _) | (_, Look::NotYet(failed)) if is_last => return Err(failed),
                _ => tokio::time::sleep(self.retry).await,
            }
        }
    }

    /// Runs rounds until one passes and all units work, however long it takes. A degraded system
    /// may still recover.
    pub async fn until_passed(&mut self) {
        loop {
            tokio::time::sleep(self.retry).await;
            if self.round(None).await.is_ok() && self.look(None).await == Look::Fine {
                return;
            }
        }
    }

    /// Looks at the units. Without units, all is fine.
    async fn look(&mut self, end: Option<Instant>) -> Look {
        let left = self.left(end);
        match &mut self.units {
            Some(watch) => watch.look(left).await,
            None => Look::Fine,
        }
    }

    /// Returns the time that a check may take now.
    fn left(&self, end: Option<Instant>) -> Duration {
        end.map_or(self.timeout, |end| {
            end.saturating_duration_since(Instant::now()).min(self.timeout)
        })
    }

    /// Runs one round, up to the first check that fails. At `end` the check that runs is cut off.
    async fn round(&self, end: Option<Instant>) -> Result<(), Failed> {
        for check in &self.checks {
            check.run(self.left(end)).await?;
        }
        Ok(())
    }
}

/// Returns the built-in checks that the configuration asks for.
fn builtin(device: &Device, config: &config::Health) -> Vec<Check> {
    let proc = device.path("/proc");
    let mut checks: Vec<_> = config.units_active.iter().cloned().map(Check::UnitActive).collect();
    checks.extend(config.process.iter().map(|name| Check::Process(proc.clone(), name.clone())));
    if config.default_route {
        checks.push(Check::DefaultRoute(proc.join("net")));
    }
    checks.extend(config.dns.iter().cloned().map(Check::Dns));
    checks
}

/// Returns the executables of `folder` by name. A missing folder holds none. Hidden files and files
/// that are not executable are not checks (README, editor backups).
fn executables(folder: &std::path::Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // Somebody meant a dangling link to be a check. Running it says that it cannot run.
        let executable = fs::metadata(entry.path())
            .map_or(true, |m| m.is_file() && m.permissions().mode() & 0o111 != 0);
        if !hidden && executable {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
