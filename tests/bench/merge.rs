//! Row 5: measures what the merge of /etc adds to the first boot of an update.
//!
//! `boot` starts the machine. 40 files of the router's /etc are changed in slot A. Slot B, the next
//! version, then boots twice to the real init: it merges at the first boot, and finds its /etc ready
//! at the second. Both are counted by instructions, so other work of the host changes nothing.

use std::path::Path;

use anyhow::{Result, ensure};
use grub_env::{BOOTED, EnvStore};
use image_layout::{FileDisk, Slot, label};
use tests::trial_disk;
use tests::vm::overlay_disk;

use crate::boot::{BootFiles, Clock};
use crate::table::{Row, Target};

/// Files that are changed.
const FILES: usize = 40;
/// Seconds that the merge may add.
const LIMIT: f64 = 0.05;

/// Returns the row. `disk` is the factory disk of the first version, `update` the bundle of the next.
pub(crate) fn row(disk: &Path, update: &Path, dir: &Path) -> Result<Row> {
    std::fs::create_dir_all(dir)?;
    let raw = dir.join("trial.raw");
    trial_disk::copy(disk, &raw)?;
    trial_disk::put_on_trial(&raw, update, 1)?;
    trial_disk::change_partition(&raw, label::ESP, |esp| {
        let store = EnvStore::open(FileDisk::open(esp)?)?;
        let mut env = store.load()?.env;
        env.set(BOOTED, "bench")?;
        Ok(store.store(&env)?)
    })?;
    let [a, b] = [Slot::A, Slot::B].map(|slot| BootFiles::of(&raw, slot, &dir.join(slot.name())));
    let (a, b) = (a?, b?);
    let machine = dir.join("merge.qcow2");
    overlay_disk(&raw, &machine)?;
    let ready = "mount -o remount,ro /var; sync";
    let change = format!(
        "for f in $(find /etc -type f -size -64k | sort | head -n {FILES}); do \
            echo '# changed' >>$f; done; {ready}"
    );
    a.start(Slot::A, &machine, &change, Clock::Wall, &[])?;
    let counted = || b.start(Slot::B, &machine, "true", Clock::Instructions, &["-snapshot"]);
    let merges = counted()?;
    b.start(Slot::B, &machine, ready, Clock::Wall, &[])?;
    let later = counted()?;
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
