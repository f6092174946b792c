//! Judges a crash state.
//!
//! `cut` makes the states, and `grub_disk` runs the real GRUB on them. A state is right if GRUB
//! boots from it, if the booted system is whole, and if no proven system is lost. The agent's next
//! run must also finish the job.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Result, anyhow, ensure};
use grub_env::EnvStore;
use image_layout::Slot;
use tests::grub_disk::{Boots, GrubDisk};

use crate::content::{Content, LABELS, Medium};
use crate::crash_disk::{Op, Recording, Story};
use crate::fault::Fault;
use crate::folder::Folder;
use crate::scenario::{Booted, Scenario, Seen};
use crate::system::{Systems, Which};

/// Number of boots in a row after the first one: three of a trial and nine of a committed slot.
const LATER: usize = 12;

/// The content of a boot partition, as GRUB sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Image {
    Of(Which),
    Recovery,
    Empty,
    /// Anything else, such as a half-written image.
    Broken,
}

/// GRUB's decisions by all that GRUB uses: every byte of the ESP, and which boot images are whole.
///
/// The key leaves out the bytes of a broken image. That is checked: an answer is kept only if GRUB
/// did not look at a broken image. GRUB prints on its screen that it looked at one.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    known: Mutex<HashMap<Key, Arc<OnceLock<Boots>>>>,
    /// The boots that follow if no boot is ever healthy.
    ///
    /// They follow from the environment and the kinds of the images. So the key has the environment
    /// as the crate grub-env reads it. `tests/grub_emu.rs` checks that the crate agrees with GRUB.
    later: Mutex<HashMap<String, Arc<OnceLock<Boots>>>>,
    pub(crate) grub_boots: AtomicUsize,
    pub(crate) without_memo: AtomicUsize,
}

type Key = (Vec<u8>, [Image; 3]);

impl Decisions {
    fn cell(&self, key: &Key) -> Arc<OnceLock<Boots>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(key) {
            Some(cell) => Arc::clone(cell),
            None => Arc::clone(known.entry(key.clone()).or_default()),
        }
    }
}

/// A disk to judge.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) medium: &'a Medium,
    pub(crate) story: &'a Story,
}

/// The tools of one worker.
pub(crate) struct Judge<'a> {
    pub(crate) systems: &'a Systems,
    pub(crate) decisions: &'a Decisions,
    pub(crate) folder: Folder,
    pub(crate) grub: GrubDisk,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(systems: &'a Systems, decisions: &'a Decisions) -> Result<Self> {
        Ok(Self { systems, decisions, folder: Folder::new(systems)?, grub: GrubDisk::new()? })
    }

    /// Judges disks on which nothing runs. Returns the runs that finished the job.
    ///
    /// # Errors
    /// GRUB does not start. A fault of a disk is in the result for that disk.
    pub(crate) fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Result<Recording>>> {
        self.ask_ahead(cases.iter().map(|case| case.medium))?;
        let runs: Vec<_> = cases.iter().map(|case| self.finish_the_job(case)).collect();
        self.ask_ahead(runs.iter().flatten().map(|(_, after)| after))?;
        let verdict = |(case, run): (&Case<'_>, Result<(Recording, Medium)>)| {
            let (recording, after) = run?;
            // The run reported success. So the job must be done, even if the power fails now.
            self.safe(case.scenario, &after)?;
            let seen = Seen::of(self.systems, &after)?;
            ensure!((case.scenario.goal)(&seen), "the next run does not finish the job: {seen:?}");
            Ok(recording)
        };
        Ok(cases.iter().zip(runs).map(verdict).collect())
    }

    fn finish_the_job(&self, case: &Case<'_>) -> Result<(Recording, Medium)> {
        let boots = self.safe(case.scenario, case.medium)?;
        let (outcome, recording) =
            self.live(case.scenario, case.medium, case.story, &boots, None)?;
        outcome.map_err(|failure| anyhow!("the next run fails: {failure}"))?;
        let after = durable(&recording);
        Ok((recording, after))
    }

    /// Judges only the boots: what GRUB does with this disk, and whether that is safe.
    pub(crate) fn safe(&self, scenario: &Scenario, medium: &Medium) -> Result<Boots> {
        let boots = self.boots(medium)?;
        let mut proven_boots = false;
        for (number, boot) in boots.boots.iter().enumerate() {
            let said = boot.argument("daruma.slot");
            let Some(slot) = said.and_then(|name| name.parse::<Slot>().ok()) else {
                ensure!(
                    said == Some("recovery"),
                    "boot {number}: GRUB starts nothing: {}",
                    boot.screen
                );
                ensure!(
                    number > 0 || scenario.may_recover,
                    "GRUB starts recovery: {}",
                    boot.screen
                );
                continue;
            };
            let whole = self.systems.whole(medium, slot);
            let whole = whole
                .ok_or_else(|| anyhow!("boot {number}: GRUB starts slot {slot}, not whole"))?;
            let version = &self.systems.get(whole).version;
            ensure!(
                boot.argument("daruma.version") == Some(version),
                "another slot.cfg: {}",
                boot.screen
            );
            proven_boots |= scenario.proven.contains(&(slot, whole));
        }
        for (slot, which) in scenario.proven {
            ensure!(
                self.systems.whole(medium, *slot) == Some(*which),
                "the proven system in slot {slot} is lost"
            );
        }
        ensure!(
            proven_boots || scenario.may_recover,
            "no proven system boots within {LATER} boots"
        );
        Ok(boots)
    }

    /// Runs the agent's life in the boot that GRUB chose.
    pub(crate) fn live(
        &self,
        scenario: &Scenario,
        medium: &Medium,
        story: &Story,
        boots: &Boots,
        fault: Option<Fault>,
    ) -> Result<(Result<(), agent::Failure>, Recording)> {
        let mut medium = medium.clone();
        medium.get_mut("esp").write(&boots.esp, 0);
        // The next boot heals damage. Damage does not undo the work that was done.
        let seen = Seen { damaged: false, ..Seen::of(self.systems, &medium)? };
        let done = (scenario.goal)(&seen);
        let boot = &boots.boots[0];
        let slot = boot.argument("daruma.slot").and_then(|name| name.parse().ok());
        let line = boot.command_line.as_deref().unwrap_or_default();
        self.folder.run(&medium, story, line, fault, |device| {
            (scenario.life)(&Booted { device, systems: self.systems, slot, done })
        })
    }

    /// Asks GRUB about all disks that it has no answer for, many in one start. Most of the time of
    /// a start is the start itself.
    fn ask_ahead<'m>(&self, media: impl Iterator<Item = &'m Medium>) -> Result<()> {
        let mut unknown: HashMap<[Image; 3], (&Medium, Vec<Key>)> = HashMap::new();
        for medium in media {
            let key = self.key(medium);
            // The bytes of a broken image might matter, so such a disk is not asked about here.
            if !key.1.contains(&Image::Broken) && self.decisions.cell(&key).get().is_none() {
                let (_, keys) = unknown.entry(key.1).or_insert((medium, Vec::new()));
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        for (medium, keys) in unknown.into_values() {
            for keys in keys.chunks(GrubDisk::AT_ONCE) {
                let esps: Vec<&[u8]> = keys.iter().map(|(esp, _)| esp.as_slice()).collect();
                for (key, boots) in keys.iter().zip(self.ask_grub(medium, &esps, 1)?) {
                    let _ = self.decisions.cell(key).set(boots);
                }
            }
        }
        Ok(())
    }

    fn key(&self, medium: &Medium) -> Key {
        (medium.get("esp").bytes(), self.images(medium))
    }

    /// Returns the first boot and the later ones, with the ESP as the first boot left it.
    fn boots(&self, medium: &Medium) -> Result<Boots> {
        let key = self.key(medium);
        let cell = self.decisions.cell(&key);
        let ask = || {
            self.ask_grub(medium, &[&key.0], 1)?.pop().ok_or_else(|| anyhow!("GRUB does not boot"))
        };
        let keep = |boots: &Boots| !key.1.contains(&Image::Broken) || !boots.boots[0].met_damage();
        let mut boots = match cell.get() {
            Some(known) => {
                // GRUB boots a sample of the known states again, to check the memo.
                if medium.fingerprint().is_multiple_of(256) {
                    self.decisions.without_memo.fetch_add(1, Ordering::Relaxed);
                    let again = ask()?;
                    ensure!(&again == known, "the memo is wrong: {again:?} instead of {known:?}");
                }
                known.clone()
            }
            None => {
                let boots = ask()?;
                if keep(&boots) {
                    let _ = cell.set(boots.clone());
                }
                boots
            }
        };
        let after = Content::new(&boots.esp, boots.esp.len());
        let loaded = EnvStore::open(after)?.load()?;
        let later =
            format!("{:?} {:?} {:?} {:?}", loaded.env.encode(), loaded.copy, loaded.damage, key.1);
        let cell = {
            let mut known = self.decisions.later.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(later).or_default())
        };
        let later = match cell.get() {
            Some(known) => known.clone(),
            None => {
                let later = self.ask_grub(medium, &[&boots.esp], LATER)?.pop();
                let later = later.ok_or_else(|| anyhow!("GRUB does not boot"))?;
                if !key.1.contains(&Image::Broken)
                    || !later.boots.iter().any(|boot| boot.met_damage())
                {
                    let _ = cell.set(later.clone());
                }
                later
            }
        };
        boots.boots.extend(later.boots);
        Ok(boots)
    }

    fn images(&self, medium: &Medium) -> [Image; 3] {
        let image = |content: &Content, which: Option<Which>| match which {
            Some(which) => Image::Of(which),
            None if content.is_empty() => Image::Empty,
            None => Image::Broken,
        };
        let [a, b] = Slot::ALL
            .map(|slot| image(medium.get(slot.boot_label()), self.systems.boots(medium, slot)));
        let recovery = medium.get("recovery");
        let same = recovery.begins_like(&self.systems.recovery, recovery.len());
        [a, b, if same { Image::Recovery } else { image(recovery, None) }]
    }

    fn ask_grub(&self, medium: &Medium, esps: &[&[u8]], times: usize) -> Result<Vec<Boots>> {
        self.decisions.grub_boots.fetch_add(esps.len() * times, Ordering::Relaxed);
        let [a, b, recovery] =
            ["boot-a", "boot-b", "recovery"].map(|label| medium.get(label).bytes());
        self.grub.boot(esps, [&a, &b, &recovery], times)
    }
}

/// Returns the disk if the power fails after the run.
pub(crate) fn durable(recording: &Recording) -> Medium {
    let mut medium = recording.before.clone();
    for partition in 0..LABELS.len() {
        let mine = |op: &&Op| op.partition() == partition;
        let synced =
            recording.ops.iter().rposition(|op| matches!(op, Op::Sync { .. }) && mine(&op));
        for op in recording.ops[..synced.unwrap_or(0)].iter().filter(mine) {
            if let Op::Write(write) = op {
                write.apply(&mut medium);
            }
        }
    }
    medium
}
