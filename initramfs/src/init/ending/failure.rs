//! Ends a failed boot: reports the reason, writes it to /var, and restarts the machine.
//!
//! GRUB then uses the slot's next try, or the other slot. GRUB has counted the try already. Only if
//! the environment is damaged, this file counts it. No error here may keep the machine from
//! restarting.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use grub_env::EnvStore;
use image_layout::Slot;
use nix::poll::{PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};

use crate::boot::Boot;
use crate::cmdline::{Choice, Cmdline};
use crate::disk::environment;
use crate::kernel::console;
use crate::root::tree;

/// The file below /var that tells the agent why boots failed. One line is one failure, the newest
/// last.
pub(crate) const FAILURES: &str = "lib/daruma/init-failures";
const KEPT_LINES: usize = 16;

/// Reports the error and restarts the machine.
pub(crate) fn end(boot: &Boot, error: &anyhow::Error) -> ! {
    match boot.line.as_ref().map(|line| (line, line.choice)) {
        Some((line, Choice::Slot(slot))) => {
            let attempt = line.attempt;
            let trial = if line.trial { " of its trial" } else { "" };
            console::loud(&format!(
                "FAILED: {error:#}; rebooting, slot {slot} has used try {attempt}{trial}"
            ));
            if let Some(var) = &boot.var
                && let Err(error) = record(var, &failure_line(line, slot, error))
            {
                console::loud(&format!("the reason is not written down: {error:#}"));
            }
            if let Some(esp) = &boot.esp
                && let Err(error) = count_if_damaged(esp, slot, attempt)
            {
                console::loud(&format!("the environment stays as it is: {error:#}"));
            }
        }
        _ => console::loud(&format!("FAILED: {error:#}; rebooting")),
    }
    restart();
}

/// Syncs what was written, waits two seconds, and restarts the machine.
pub(crate) fn restart() -> ! {
    nix::unistd::sync();
    // The two seconds are for a person, and for a slow serial line.
    let _ =
        poll(&mut [], PollTimeout::try_from(Duration::from_secs(2)).unwrap_or(PollTimeout::ZERO));
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    // The program comes here only without the right to reboot. The kernel panics when its first
    // process ends, and panic=5 restarts it.
    std::process::exit(1)
}

fn failure_line(line: &Cmdline, slot: Slot, error: &anyhow::Error) -> String {
    let version = line.version.as_deref().unwrap_or("-");
    console::one_line(&format!("slot={slot} version={version} reason={error:#}"))
}

/// Adds a line to the failures, and drops the oldest.
fn record(var: &Path, line: &str) -> Result<()> {
    let path = var.join(FAILURES);
    fs::create_dir_all(path.parent().unwrap_or(var)).context("creating its folder")?;
    let before = fs::read(&path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = before.lines().chain([line]).collect();
    let kept = lines[lines.len().saturating_sub(KEPT_LINES)..].join("\n");
    tree::write_durably(&path, format!("{kept}\n").as_bytes())
}

/// Counts this failure if the environment is damaged. GRUB has counted this try in a whole
/// environment, so nothing is written there. A damaged environment may be the reason why nothing is
/// ever counted. So it is rebuilt with this failure in it.
fn count_if_damaged(esp: &Path, slot: Slot, attempt: u32) -> Result<()> {
    let store =
        EnvStore::open(environment::open_esp(esp)?).context("reading the EFI system partition")?;
    let loaded = store.load().context("reading the environment")?;
    if loaded.damage.is_empty() {
        return Ok(());
    }
    let env = environment::with_failure(loaded.env, slot, attempt);
    store.heal(&env).context("rebuilding the environment")?;
    console::loud(&format!(
        "the environment was damaged ({}) and is rebuilt",
        loaded.damage.join(", ")
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failures_kept_are_the_last_sixteen_one_line_each() {
        let var = tempfile::tempdir().unwrap();
        let line = Cmdline::parse("daruma.slot=B daruma.try=2 daruma.version=2.0.0").unwrap();
        for number in 0..20 {
            let error = anyhow::anyhow!("block {number}\nis corrupt").context("mounting root-b");
            record(var.path(), &failure_line(&line, Slot::B, &error)).unwrap();
        }
        let text = fs::read_to_string(var.path().join(FAILURES)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), KEPT_LINES);
        assert_eq!(lines[0], "slot=B version=2.0.0 reason=mounting root-b: block 4 is corrupt");
        assert_eq!(lines[15], "slot=B version=2.0.0 reason=mounting root-b: block 19 is corrupt");
    }

    #[test]
    fn a_reason_without_end_is_cut() {
        let line = Cmdline::parse("daruma.slot=A").unwrap();
        let error = anyhow::anyhow!("é".repeat(10_000));
        assert!(failure_line(&line, Slot::A, &error).len() <= 700);
    }
}
