//! Makes the disk fail at every operation of a commit and the install after it.
//!
//! `fault` is one fault, and `judge` judges the device after it. The faults are errors, half a
//! write, no space, a device that vanishes, and a bit that flips.

use std::collections::BTreeMap;
use std::io::Write;

use agent::Exit;
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use crate::Bench;
use crate::content::{LABELS, Medium};
use crate::crash_disk::Op;
use crate::fault::{Fault, Kind};
use crate::judge::{Case, Judge, durable};
use crate::scenario::{self, Scenario, Seen};
use crate::sweep::first_run;

const KINDS: [(&str, Kind); 8] = [
    ("EIO", Kind::Once(Errno::EIO)),
    ("ENOSPC", Kind::Once(Errno::ENOSPC)),
    ("EIO after half a write", Kind::Short(Errno::EIO)),
    ("ENOSPC after half a write", Kind::Short(Errno::ENOSPC)),
    ("device gone, ENODEV", Kind::Gone(Errno::ENODEV)),
    ("device gone, ENXIO", Kind::Gone(Errno::ENXIO)),
    ("EIO on every read from then on", Kind::Unreadable(Errno::EIO)),
    ("a bit flips on the disk", Kind::Flipped),
];

/// Runs all faults. Returns false if a device did not survive one.
pub(crate) fn run(bench: &Bench, out: &mut impl Write) -> Result<bool> {
    let judge = bench.judge()?;
    let scenario = scenario::install_over_an_older_system();
    let right = first_run(&judge, &scenario)?;
    let before = scenario.medium(judge.systems, &judge.grub)?;
    writeln!(
        out,
        "\nFaults of the disk during commit and install: exit codes, each with one line\n"
    )?;
    let mut good = true;
    for (name, kind) in KINDS {
        for (place, is_there) in [("slot", false), ("environment", true)] {
            let mut exits: BTreeMap<u8, usize> = BTreeMap::new();
            for (at, op) in
                right.ops.iter().enumerate().filter(|(_, op)| op.is_on("esp") == is_there)
            {
                // Half a write and a flipped bit need a write. The other faults hit syncs, too.
                if matches!(kind, Kind::Short(_) | Kind::Flipped) && !matches!(op, Op::Write(_)) {
                    continue;
                }
                let fault = Fault { kind, partition: op.partition(), at };
                match survive(&judge, &scenario, &before, fault) {
                    Ok(exit) => *exits.entry(exit).or_default() += 1,
                    Err(error) => {
                        good = false;
                        writeln!(
                            out,
                            "VIOLATION {name} of {} at {at}: {error:#}",
                            LABELS[fault.partition]
                        )?;
                    }
                }
            }
            let exits: Vec<_> =
                exits.iter().map(|(exit, times)| format!("{times} x {exit}")).collect();
            writeln!(out, "{name:>32}  {place:<12} {}", exits.join(", "))?;
        }
    }
    Ok(good)
}

/// Runs the agent with one fault, then judges the device. Returns the exit code of the run.
///
/// The judge sees two disks: the disk after a reboot, and the disk after a power cut. In both cases
/// the disk works again in the agent's next run.
fn survive(judge: &Judge<'_>, scenario: &Scenario, before: &Medium, fault: Fault) -> Result<u8> {
    let boots = judge.safe(scenario, before)?;
    let (outcome, recording) =
        judge.live(scenario, before, &scenario.story(), &boots, Some(fault))?;
    let exit = match outcome {
        // The fault hit a copy of the environment that GRUB does not use.
        Ok(()) => {
            // That copy may stay damaged until the next boot heals it. The copy that GRUB uses must
            // be right.
            let seen = Seen { damaged: false, ..Seen::of(judge.systems, &recording.live)? };
            ensure!((scenario.goal)(&seen), "it says that it is done, and is not: {seen:?}");
            0
        }
        Err(failure) => {
            let line = &failure.message;
            let expected =
                if LABELS[fault.partition] == "esp" { Exit::Environment } else { Exit::SlotIo };
            ensure!(failure.exit == expected, "exit {:?}: {line}", failure.exit);
            ensure!(!line.is_empty() && !line.contains('\n'), "not one line: {line}");
            ensure!(
                line.contains(LABELS[fault.partition]),
                "the line does not name the disk: {line}"
            );
            failure.exit as u8
        }
    };
    let story = recording.stories.last().context("no story")?;
    let cut = durable(&recording);
    let media = [&recording.live, &cut];
    let cases = media.map(|medium| Case { scenario, medium, story });
    judge.judge(&cases)?.into_iter().try_for_each(|verdict| verdict.map(drop))?;
    Ok(exit)
}
