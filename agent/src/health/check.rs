//! One health check: its name, and a run with a time limit.
//!
//! `command` runs programs, and `probes` looks at the system without a program. A failed check
//! gives one line, which `daruma status` shows.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::exit::Failure;
use crate::health::command::run_command;
use crate::health::probes;

/// One thing that must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Check {
    /// A program that exits with 0.
    Executable(PathBuf),
    /// A unit that `systemctl is-active` calls active.
    UnitActive(String),
    /// A default route in the tables below this folder (`/proc/net`).
    DefaultRoute(PathBuf),
    /// A host name that resolves.
    Dns(String),
    /// A process of this name below this folder (`/proc`).
    Process(PathBuf, String),
    /// A check that cannot even be started.
    Impossible {
        /// Its name.
        name: String,
        /// Why not.
        cause: String,
    },
}

/// Something that did not hold: one line that says what, and how it failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    line: String,
    /// True if a unit failed that no configuration asks for.
    pub(crate) is_of_units: bool,
}

impl Failed {
    /// Returns the failure of a configuration that cannot be used: nobody knows what to check.
    pub(crate) fn of_configuration(failure: &Failure) -> Self {
        Self::of_check("configuration", &format!("is impossible: {failure}"))
    }

    /// Returns the failure of a unit, or of asking for the units. `line` is a sentence.
    pub(crate) fn of_units(line: String) -> Self {
        Self { line, is_of_units: true }
    }

    /// Returns the failure of the check `name`. `cause` has the end of the check's output.
    fn of_check(name: &str, cause: &str) -> Self {
        Self { line: format!("health check {name} {cause}"), is_of_units: false }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Check {
    /// Returns the name that messages use.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Executable(path) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
            Self::UnitActive(unit) => format!("units-active {unit}"),
            Self::DefaultRoute(_) => "default-route".to_owned(),
            Self::Dns(host) => format!("dns {host}"),
            Self::Process(_, name) => format!("process {name}"),
            Self::Impossible { name, .. } => name.clone(),
        }
    }

    /// Runs the check. After `limit` it has failed, and its process group is killed.
    pub(crate) async fn run(&self, limit: Duration) -> Result<(), Failed> {
        let result = match self {
            Self::Executable(path) => run_command(Command::new(path), limit).await,
            Self::UnitActive(unit) => {
                let mut command = Command::new("systemctl");
                command.args(["is-active", "--", unit]);
                run_command(command, limit).await
            }
            Self::DefaultRoute(net) => probes::default_route(net),
            Self::Dns(host) => probes::resolves(host, limit).await,
            Self::Process(proc, name) => probes::process_runs(proc, name),
            Self::Impossible { cause, .. } => Err(format!("cannot be run: {cause}")),
        };
        result.map_err(|cause| Failed::of_check(&self.name(), &cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_a_failure() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let check = Check::Executable(PathBuf::from("/nowhere/10-check"));
        let failed = runtime.block_on(check.run(Duration::from_secs(20))).unwrap_err();
        assert!(
            failed.to_string().starts_with(
                "health check 10-check cannot be run: /nowhere/10-check: No such file"
            )
        );
    }
}
