//! Reboots the machine: by the configured command, by systemd, or by the kernel.
//!
//! The daemon and `daruma update` decide when. A device laid out in a folder is never rebooted
//! without a configured command.

use std::process::Command;

use nix::sys::reboot::{RebootMode, reboot};

use crate::device::machine::Device;
use crate::exit::{Exit, Failure};

/// Asks for a reboot: by `reboot_command`, or by systemd, or by the kernel.
///
/// Without a configured command, a device laid out in a folder is not rebooted.
///
/// # Errors
/// [`Exit::Unexpected`] when the command fails, or when there is nothing to reboot.
pub(crate) fn ask(device: &Device, reboot_command: &[String]) -> Result<(), Failure> {
    let failure = |cause: String| Failure::new(Exit::Unexpected, format!("rebooting: {cause}"));
    let command: Vec<&str> = match reboot_command.iter().map(String::as_str).collect::<Vec<_>>() {
        words if !words.is_empty() => words,
        _ if !device.is_real() => {
            return Err(failure(
                "the device is a folder, not the machine that this program runs on".to_owned(),
            ));
        }
        _ if device.path("/run/systemd/system").is_dir() => vec!["systemctl", "reboot"],
        _ => return now(),
    };
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.map_err(|error| failure(format!("{:?}: {error}", command.join(" "))))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default();
        return Err(failure(format!(
            "{:?} ended with {}: {said}",
            command.join(" "),
            output.status
        )));
    }
    Ok(())
}

/// Syncs, and reboots at once without asking anybody.
///
/// # Errors
/// [`Exit::Unexpected`] when the kernel refuses (the program is not root).
pub(crate) fn now() -> Result<(), Failure> {
    nix::unistd::sync();
    let Err(error) = reboot(RebootMode::RB_AUTOBOOT);
    Err(Failure::new(Exit::Unexpected, format!("rebooting by system call: {error}")))
}
