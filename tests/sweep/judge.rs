//! The judge of a crash state: the real GRUB boots from it, what it boots is whole, nothing that
//! has proved itself is lost, and the agent's next run finishes the job.

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

/// Boots in a row that are looked at behind the first: three of a trial, nine of a committed slot.
const LATER: usize = 12;

/// What a boot partition means to GRUB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Image {
    Of(Which),
    Recovery,
    Empty,
    /// Something else: a half-written image.
    Broken,
}

/// GRUB's decisions, by what it goes by: every byte of the ESP, and which boot images are whole.
///
/// The bytes of a broken image are left out, and this is checked, not assumed: an answer is kept
/// only when GRUB did not look at a broken image at all, which it says on its screen.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    known: Mutex<HashMap<Key, Arc<OnceLock<Boots>>>>,
    /// What follows when no boot is ever healthy. It follows from the environment alone, so here
    /// the key is what the crate grub-env reads of it; it is the twin of GRUB that
    /// `tests/grub_emu.rs` holds to that.
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

/// One worker's tools.
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

    /// Judges disks on which nothing runs. Gives the runs that finished the job.
    ///
    /// # Errors
    /// GRUB does not start. What is wrong with a disk is in its own result.
    pub(crate) fn judge(&self, cases: &[Case<'_>]) -> Result<Vec<Result<Recording>>> {
        self.ask_ahead(cases.iter().map(|case| case.medium))?;
        let runs: Vec<_> = cases.iter().map(|case| self.finish_the_job(case)).collect();
        self.ask_ahead(runs.iter().flatten().map(|(_, after)| after))?;
        let verdict = |(case, run): (&Case<'_>, Result<(Recording, Medium)>)| {
            let (recording, after) = run?;
            // It said that it was done: so it must be, whatever happens to the power now.
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

    /// Only the boots: what GRUB does with this disk, and that it is safe.
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

    /// The agent's life in the boot that GRUB chose.
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
        // Damage is for the next boot to heal; it does not undo what was done.
        let seen = Seen { damaged: false, ..Seen::of(self.systems, &medium)? };
        let done = (scenario.goal)(&seen);
        let boot = &boots.boots[0];
        let slot = boot.argument("daruma.slot").and_then(|name| name.parse().ok());
        let line = boot.command_line.as_deref().unwrap_or_default();
        self.folder.run(&medium, story, line, fault, |device| {
            (scenario.life)(&Booted { device, systems: self.systems, slot, done })
        })
    }

    /// Asks GRUB about all of these at once, as far as nobody did before: most of the time of a
    /// start is the start.
    fn ask_ahead<'m>(&self, media: impl Iterator<Item = &'m Medium>) -> Result<()> {
        let mut unknown: HashMap<[Image; 3], (&Medium, Vec<Key>)> = HashMap::new();
        for medium in media {
            let key = self.key(medium);
            // What lies in a broken image might count.
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

    /// The first boot, and the later ones; the ESP is the one after the first.
    fn boots(&self, medium: &Medium) -> Result<Boots> {
        let key = self.key(medium);
        let cell = self.decisions.cell(&key);
        let ask = || {
            self.ask_grub(medium, &[&key.0], 1)?.pop().ok_or_else(|| anyhow!("GRUB does not boot"))
        };
        let keep = |boots: &Boots| !key.1.contains(&Image::Broken) || !boots.boots[0].met_damage();
        let mut boots = match cell.get() {
            Some(known) => {
                // A sample goes to GRUB all the same.
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

/// What is left of a run when the power goes after it.
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
