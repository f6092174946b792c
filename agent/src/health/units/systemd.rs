//! Asks systemd for its units, through `systemctl`.
//!
//! `unit` parses the answers. `command` runs the program with a time limit.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::process::Command;

use crate::device::Device;
use crate::health::command::output_of;
use crate::health::units::standing::Reading;
use crate::health::units::unit::{PROPERTIES, parse_units, parse_wanted};

/// Returns true if systemd runs the system.
pub(super) fn is_there(device: &Device) -> bool {
    device.path("/run/systemd/system").is_dir()
}

/// Reads the units that the default target wants. The error is the end of a sentence.
pub(super) async fn read_wanted(limit: Duration) -> Result<Reading, String> {
    let wanted = wanted(limit).await?;
    let units = show(&wanted, limit).await?;
    Ok(Reading { wanted, units })
}

/// Reads the units that the default target wants, and all that have failed.
pub(super) async fn read_all(limit: Duration) -> Result<Reading, String> {
    let wanted = wanted(limit).await?;
    let text = systemctl(&["list-units", "--all", "--state=failed", "--no-legend"], limit).await?;
    let names: BTreeSet<String> = wanted.union(&parse_wanted(&text)).cloned().collect();
    let units = show(&names, limit).await?;
    Ok(Reading { wanted, units })
}

async fn wanted(limit: Duration) -> Result<BTreeSet<String>, String> {
    let text = systemctl(&["list-dependencies", "default.target"], limit).await?;
    Ok(parse_wanted(&text))
}

async fn show(
    names: &BTreeSet<String>,
    limit: Duration,
) -> Result<std::collections::BTreeMap<String, super::unit::Unit>, String> {
    if names.is_empty() {
        return Ok(Default::default());
    }
    let property = format!("--property={PROPERTIES}");
    let mut arguments = vec!["show", &property, "--"];
    arguments.extend(names.iter().map(String::as_str));
    Ok(parse_units(&systemctl(&arguments, limit).await?))
}

async fn systemctl(arguments: &[&str], limit: Duration) -> Result<String, String> {
    let mut command = Command::new("systemctl");
    // Names are not shortened to the width of a terminal, and nothing is coloured.
    command.args(["--plain", "--full", "--no-pager"]).args(arguments);
    command.env("LC_ALL", "C").env("SYSTEMD_COLORS", "0");
    output_of(command, limit).await
}
