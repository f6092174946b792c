//! Writes the status as text for a person.
//!
//! `gather` has the facts. The text may change from release to release, so programs read `--json`.

use std::fmt;

use crate::health::units::UnitsStatus;
use crate::status::gather::{ResetStatus, SlotStatus, Status};
use crate::status::state::{Event, Kind};
use crate::status::var::Var;

/// Latest events that are shown. `--json` has them all.
const EVENTS_SHOWN: usize = 12;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (&self.compatible, &self.version) {
            (Some(compatible), Some(version)) => format!("{compatible} {version}"),
            _ => "a system that does not say what it is".to_owned(),
        };
        match self.running.as_str() {
            "recovery" => writeln!(f, "running   the recovery image")?,
            slot => writeln!(
                f,
                "running   {what} from slot {slot}, {}, {}",
                self.standing(),
                self.health_line()
            )?,
        }
        match self.boots_next.as_str() {
            "recovery" => writeln!(f, "next boot the recovery image: no slot may be booted")?,
            slot => writeln!(f, "next boot slot {slot}")?,
        }
        if let Some(reset) = &self.factory_reset {
            writeln!(f, "reset     {}", reset.line(self.slots.values().any(|slot| slot.trial)))?;
        }
        if let Some(line) = self.var.and_then(Var::remedy) {
            writeln!(f, "/var      {line}")?;
        }
        writeln!(f, "\n   slot  version         boots  standing")?;
        for (name, slot) in &self.slots {
            let here = if *name == self.running { '*' } else { ' ' };
            let version = slot.version.as_deref().unwrap_or("-");
            writeln!(
                f,
                " {here} {name:<4}  {version:<14}  {} of {}  {}",
                slot.tries,
                slot.limit,
                slot.standing()
            )?;
        }
        if let Some(disk) = self.disk.as_ref().filter(|disk| !disk.others.is_empty()) {
            let others = disk.others.join(", ");
            writeln!(
                f,
                "\ndisk      {}, because {}; with the same partitions: {others}",
                disk.name, disk.because
            )?;
        }
        if let Some(etc) = &self.etc {
            writeln!(f, "\n/etc      {etc}")?;
        }
        if let Some(root) = &self.root {
            writeln!(f, "\n/         {}", root.line())?;
        }
        if let Some(line) = self.units.as_ref().map(units_line) {
            writeln!(f, "\nunits     {line}")?;
        }
        let shown = self.events.len().saturating_sub(EVENTS_SHOWN);
        section(f, "what happened (UTC)", self.events[shown..].iter().map(event_line))?;
        section(
            f,
            "in quarantine",
            self.quarantined.iter().map(|entry| {
                format!(
                    "{}  manifest {:.16}...  {}",
                    entry.version, entry.manifest_sha256, entry.reason
                )
            }),
        )?;
        section(
            f,
            "the boot environment is damaged (the daemon rebuilds it)",
            self.environment_damage.iter(),
        )?;
        section(f, "warnings", self.warnings.iter())
    }
}

impl Status {
    fn standing(&self) -> &str {
        match self.state {
            "trial" => "on trial",
            "bad" => "marked bad",
            other => other,
        }
    }

    fn health_line(&self) -> String {
        match (self.health, &self.degraded_because) {
            ("checking", _) => "its health is being checked".to_owned(),
            ("unknown", _) => "its health is not known (does the daemon run?)".to_owned(),
            (health, Some(cause)) => format!("{health}: {cause}"),
            (health, None) => health.to_owned(),
        }
    }
}

impl ResetStatus {
    fn line(&self, is_trial: bool) -> String {
        let when =
            if is_trial { "the first boot after the trial is committed" } else { "the next boot" };
        match self.keep.as_slice() {
            [] => format!("{when} empties /var ('daruma factory-reset --cancel' takes it back)"),
            keep => format!(
                "{when} empties /var but for {} ('daruma factory-reset --cancel' takes it back)",
                keep.join(", ")
            ),
        }
    }
}

impl SlotStatus {
    fn standing(&self) -> String {
        let standing = match (self.ok, self.trial, self.tries < self.limit) {
            (false, ..) => "bad: GRUB passes over it",
            (true, true, true) => "on trial",
            (true, true, false) => "on trial, tries used up",
            (true, false, true) => "good",
            (true, false, false) => "good, tries used up",
        };
        // The cause is in --json only. For a factory-new device it would be noise.
        match (&self.unreadable_because, self.ok) {
            (Some(_), false) => "empty or damaged: GRUB passes over it".to_owned(),
            (Some(_), true) => format!("{standing}, but empty or damaged"),
            (None, _) => standing.to_owned(),
        }
    }
}

fn section(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl Iterator<Item = impl fmt::Display>,
) -> fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    lines.try_for_each(|line| writeln!(f, "   {line}"))
}

fn units_line(units: &UnitsStatus) -> String {
    let count = units.count;
    match (units.baseline, &units.version) {
        ("off", _) => "not judged: baseline is off in daruma.toml".to_owned(),
        ("no-systemd", _) => "not judged: this system has no systemd".to_owned(),
        (_, Some(version)) => {
            format!("{count} of {version} must work in the next system ([health] baseline)")
        }
        (_, None) if count > 0 => {
            format!("no baseline yet; the {count} health-units of the recipe must work")
        }
        _ => "no baseline yet".to_owned(),
    }
}

fn event_line(event: &Event) -> String {
    let what = match event.kind {
        Kind::Installed => "installed, on trial from the next boot",
        Kind::Committed => "committed",
        Kind::HealthFailed => "not healthy",
        Kind::InitFailed => "gave up in the initramfs",
        Kind::FellBack => "given up, fell back to the other slot",
        Kind::Degraded => "stays up, degraded",
        Kind::Recovered => "healthy again",
        Kind::MarkedGood => "marked good",
        Kind::MarkedBad => "marked bad",
        Kind::RollBack => "rolled back to, on trial from the next boot",
        Kind::Withdrawn => "withdrawn by its publisher before its first boot",
        Kind::EnvironmentHealed => "rebuilt the boot environment",
        Kind::Unknown => "(an event of a newer agent)",
    };
    let version = event.version.as_deref().unwrap_or("?");
    let reason =
        if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
    format!("{}  {} {version}  {what}{reason}", utc(event.time_s), event.slot)
}

/// Returns `2026-11-21 12:34:56` for seconds since 1970, UTC.
fn utc(time_s: u64) -> String {
    let (days, second) = (time_s / 86_400, time_s % 86_400);
    // Howard Hinnant's days-from-civil algorithm, backwards: eras of 400 years that begin on 1
    // March.
    let z = days + 719_468;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + z / 146_097 * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date_1() {
        // date -u -d @N
        for (time_s, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_264_496, "2026-11-21 12:34:56"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(utc(time_s), text);
        }
    }
}
