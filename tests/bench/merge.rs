//! Row 5: measures what the merge of /etc adds to the first boot of an update.
//!
//! `boot` starts the machine. 40 files of the router's /etc are changed in slot A. Slot B, the next
//! version, then boots twice to the real init: it merges at the first boot, and finds its /etc
//! ready at the second. What counts is the processor's time of daruma-init, by instructions. So
//! neither the host's disk nor its other work changes anything.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use grub_env::BOOTED;
use image_layout::{FileDisk, PartitionTable, Slot, label};
use tests::trial_disk;
use tests::vm::overlay_disk;

use crate::boot::{BootFiles, Clock};
use crate::table::{Row, Target};

/// Files that are changed.
const FILES: usize = 40;
/// Seconds that the merge may add.
const LIMIT: f64 = 0.05;

/// Returns the row. `disk` is the factory disk of the first version, `update` the bundle of the
/// next.
pub(crate) fn row(disk: &Path, update: &Path, dir: &Path) -> Result<Row> {
    std::fs::create_dir_all(dir)?;
    let raw = dir.join("trial.raw");
    trial_disk::copy(disk, &raw)?;
    trial_disk::put_on_trial(&raw, update, 1)?;
    trial_disk::change_environment(&raw, |env| Ok(env.set(BOOTED, "bench")?))?;
    let [a, b] = [Slot::A, Slot::B].map(|slot| BootFiles::of(&raw, slot, &dir.join(slot.name())));
    let (a, b) = (a?, b?);
    let machine = dir.join("merge.qcow2");
    overlay_disk(&raw, &machine)?;
    let ready = "mount -o remount,ro /var; sync";
    let change = format!(
        "for f in $(find /etc -type f -size -64k | sort | head -n {FILES}); do \
            echo '# changed' >>$f; done; {ready}"
    );
    // GRUB names the disk, so daruma-init does not wait for others. The first boot gives new GUIDs.
    a.start((Slot::A, &named(&machine, dir)?), &machine, &change, Clock::Wall, &[])?;
    let named = named(&machine, dir)?;
    let boot = (Slot::B, named.as_str());
    let counted = || b.start(boot, &machine, "true", Clock::Instructions, &["-snapshot"]);
    let merges = counted()?.init;
    b.start(boot, &machine, ready, Clock::Wall, &[])?;
    let later = counted()?.init;
    ensure!(merges > later, "the first boot took {merges} s and the second {later} s");
    Ok(Row {
        what: format!("first boot that merges {FILES} changed files of /etc (-icount)"),
        ours: format!("{merges:.3} s (+{:.0} ms)", (merges - later) * 1000.0),
        peer: "a later boot".to_owned(),
        theirs: format!("{later:.3} s"),
        ratio: Some(merges / later),
        target: Target::Ratio((later + LIMIT) / later),
        mib: 0.0,
    })
}

/// Returns the argument with which GRUB names the disk of a machine that is off.
fn named(machine: &Path, dir: &Path) -> Result<String> {
    let raw = dir.join("now.raw");
    trial_disk::raw_of(machine, &raw)?;
    let table = PartitionTable::read(&FileDisk::open_read_only(&raw)?)?;
    let esp = table.find(label::ESP).context("no partition esp")?;
    Ok(format!(" daruma.disk={}", esp.guid))
}
