//! Finds the disk that GRUB started from, among several disks with Daruma's partitions.
//!
//! daruma-init lists the disks and calls [`choose`]. The agent uses the recorded result
//! ([`DiskRecord`]), in recovery too.
//!
//! Such a machine may have a spare disk, a clone, or an old eMMC beside a new NVMe. GRUB tells the
//! kernel what it knows of its disk ([`Told`]). [`Evidence::gather`] compares this with the bytes
//! of one disk. The kernel's names of disks and their order decide nothing. See
//! `docs/boot-protocol.md`, "The device's disk".

use std::fmt;

use image_layout::{Disk, PartitionTable, Slot, label};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::env::Env;
use crate::factory_reset::FactoryReset;
use crate::state::boot::BootState;
use crate::store::copies::EnvStore;

/// The variable of the environment in which GRUB notes when it started something. GRUB notes it on
/// the disk that it started from.
pub const BOOTED: &str = "BOOTED";
/// The variable of the environment in which the agent notes where the disk hangs. It decides where
/// all else is equal.
pub const PLACE: &str = "PLACE";
/// Bytes of a dm-verity block.
const VERITY_BLOCK: usize = 4096;

/// What GRUB told the kernel of this boot.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Told {
    /// `daruma.disk=`: the GUID of the EFI system partition that GRUB started from. Older GRUB
    /// scripts do not say it, because they had no name for the disk.
    pub esp_guid: Option<Uuid>,
    /// `daruma.booted=`: what GRUB has just written in [`BOOTED`]. It is also missing if GRUB could
    /// not write.
    pub booted: Option<String>,
    /// `daruma.slot=`; `None` is recovery.
    pub slot: Option<Slot>,
    /// `daruma.trial=1`
    pub trial: bool,
    /// `daruma.try=`
    pub attempt: u32,
    /// `daruma.verity=`
    pub root: Option<RootHash>,
}

/// What `daruma.verity=` says of the slot's root image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootHash {
    /// SHA-256 of the salt and the top block of the tree, in hexadecimal.
    pub hash: String,
    /// The salt, in hexadecimal.
    pub salt: String,
    /// Blocks of 4096 bytes in front of the tree.
    pub data_blocks: u64,
}

/// Whether GRUB has just counted this boot in a disk's environment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Counted {
    /// The disk's [`BOOTED`] is what GRUB said it wrote.
    Exactly,
    /// GRUB did not say what it wrote, and the counts are those of this boot.
    Plausibly,
    /// The environment says something else, or cannot be read.
    No,
}

/// What the bytes of one disk say for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// True if the disk's EFI system partition has the GUID that GRUB named; `None` when GRUB named
    /// none.
    pub is_named: Option<bool>,
    /// Whether the disk's environment counts this boot.
    pub counted: Counted,
    /// True if the slot's root partition on the disk has the root hash that GRUB took from the
    /// slot.
    pub has_root: bool,
    /// Where the disk hung when its system was last healthy ([`PLACE`]).
    pub last_place: Option<String>,
    /// The factory reset that the disk's environment asks for. It says nothing for or against the
    /// disk. It is here because the environment is read here, at every boot.
    pub reset: Option<FactoryReset>,
}

impl Evidence {
    /// Returns the strongest evidence for the disk. The disk was taken for that reason, whatever
    /// disks come later.
    fn strongest(&self) -> By {
        match self {
            Self { is_named: Some(true), .. } => By::Guid,
            Self { counted: Counted::Exactly | Counted::Plausibly, .. } => By::Environment,
            Self { has_root: true, .. } => By::RootHash,
            _ => By::BeingAlone,
        }
    }

    /// Reads from a disk only what decides: another disk may be slow or failing. `whole` is the
    /// disk. `esp` and `root` are its EFI system partition and the root partition of the slot that
    /// boots, if the disk has them.
    pub fn gather<D: Disk>(told: &Told, whole: &D, esp: Option<D>, root: Option<D>) -> Self {
        let mut evidence = Self {
            is_named: None,
            counted: Counted::No,
            has_root: false,
            last_place: None,
            reset: None,
        };
        evidence.is_named = told.esp_guid.map(|guid| has_guid(whole, guid));
        if evidence.is_named == Some(false) {
            return evidence;
        }
        let env = esp
            .and_then(|esp| EnvStore::open(esp).ok()?.load().ok())
            .filter(|env| env.copy.is_some());
        if let Some(loaded) = env {
            evidence.counted = counted(told, &loaded.env);
            evidence.last_place = loaded.env.get(PLACE).filter(|place| !place.is_empty());
            evidence.reset = FactoryReset::of(&loaded.env);
        }
        evidence.has_root = told
            .root
            .as_ref()
            .zip(root)
            .is_some_and(|(hash, root)| hash.is_of(&root).unwrap_or(false));
        evidence
    }
}

fn has_guid(whole: &impl Disk, guid: Uuid) -> bool {
    let table = PartitionTable::read(whole);
    table.is_ok_and(|table| table.find(label::ESP).is_some_and(|esp| esp.guid == guid))
}

/// Returns whether `env` is the environment in which GRUB has just counted this boot.
fn counted(told: &Told, env: &Env) -> Counted {
    if let Some(booted) = &told.booted {
        return if env.get(BOOTED).as_ref() == Some(booted) {
            Counted::Exactly
        } else {
            Counted::No
        };
    }
    let state = BootState::from_env(env);
    let plausible = match told.slot {
        Some(slot) => {
            let tries = u32::from(state.slot(slot).tries);
            tries == told.attempt && tries > 0 && told.trial == (state.trial == Some(slot))
        }
        // GRUB counts nothing for recovery. GRUB asks for a key only where the first slot's last
        // boot was not healthy. Otherwise GRUB comes to recovery only when each slot is bad or has
        // just been counted.
        None => {
            let [first, second] = state.order.map(|slot| state.slot(slot));
            first.tries > 0 || (!first.ok && (!second.ok || second.tries > 0))
        }
    };
    if plausible { Counted::Plausibly } else { Counted::No }
}

impl RootHash {
    /// Returns true if the tree behind the data on `root` has this root hash. It reads one block.
    fn is_of(&self, root: &impl Disk) -> std::io::Result<bool> {
        let mut block = [0; VERITY_BLOCK];
        // The top of the tree comes first. One block of data has no tree: its own hash is the root
        // hash.
        let top = if self.data_blocks > 1 { self.data_blocks } else { 0 };
        root.read_at(&mut block, top.saturating_mul(VERITY_BLOCK as u64))?;
        let mut hash = Sha256::new();
        hash.update(from_hex(&self.salt).unwrap_or_default());
        hash.update(block);
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            == self.hash)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    Some(
        digits?
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

/// A disk that may be the one GRUB started from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Where the disk hangs: its path in sysfs without its name. The path stays the same as long as
    /// nobody moves the disk.
    pub place: String,
    /// True if the disk has all of Daruma's partitions.
    pub is_whole: bool,
    /// True if the disk is a stick, a card, or behind USB.
    pub is_removable: bool,
    /// What the disk's bytes say.
    pub evidence: Evidence,
}

/// How sure the choice of a disk must be before the disk is taken. The demand falls with time,
/// because the right disk may come late.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Certainty {
    /// No disk that comes later can be better.
    Sure,
    /// Much speaks for the disk.
    Likely,
    /// The disk is there.
    Possible,
}

impl Candidate {
    /// Returns how sure it is that GRUB started from this disk; `None` if GRUB did not.
    #[must_use]
    pub fn certainty(&self, told: &Told) -> Option<Certainty> {
        let Evidence { is_named, counted, has_root, last_place, reset: _ } = &self.evidence;
        let has_root = *has_root || told.slot.is_none();
        // A stick could be made to say all of this, and it may come before the disk inside.
        let at_home = last_place.as_ref() == Some(&self.place) && !self.is_removable;
        match (is_named, counted) {
            (Some(false), _) => None,
            (_, Counted::Exactly) => Some(Certainty::Sure),
            (None, Counted::Plausibly) if has_root && self.is_whole && at_home => {
                Some(Certainty::Sure)
            }
            // GRUB wrote down this boot, but not here: this may be a clone of a disk that is slow.
            (Some(true), Counted::No) if told.booted.is_some() => Some(Certainty::Possible),
            (Some(true), _) => Some(Certainty::Likely),
            (None, Counted::Plausibly) if has_root && self.is_whole => Some(Certainty::Likely),
            (None, _) => Some(Certainty::Possible),
        }
    }
}

/// What tells the chosen disk from all others, in the order of the tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// There was no other disk, and nothing else speaks for this one.
    BeingAlone,
    /// The disk has the GUID that GRUB named.
    Guid,
    /// GRUB has just counted this boot in the disk's environment.
    Environment,
    /// The disk's root image has the slot's root hash.
    RootHash,
    /// All of the disk's partitions are there.
    Partitions,
    /// The disk is not removable.
    BeingFixed,
    /// The disk hangs where it hung when it was last healthy.
    Place,
    /// Nothing: the disk is the first by where it hangs.
    Nothing,
}

impl By {
    const WORDS: [(Self, &'static str, &'static str); 8] = [
        (Self::BeingAlone, "alone", "there was no other"),
        (Self::Guid, "guid", "GRUB named its EFI system partition"),
        (Self::Environment, "environment", "GRUB counted this boot on it"),
        (Self::RootHash, "root-hash", "it holds the root image that GRUB named"),
        (Self::Partitions, "partitions", "only its partitions are complete"),
        (Self::BeingFixed, "fixed", "only it is not removable"),
        (Self::Place, "place", "only it is where it was before"),
        (Self::Nothing, "nothing", "nothing tells them apart"),
    ];

    /// Returns the word of [`DiskRecord`] and of `daruma status --json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize].1
    }

    fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known, _)| *known == word).map(|(by, ..)| *by)
    }

    /// Returns true if it is sure that GRUB started from the chosen disk. The tests after the root
    /// hash are only a preference.
    #[must_use]
    pub fn is_proof(self) -> bool {
        (self as usize) <= Self::RootHash as usize
    }
}

impl fmt::Display for By {
    /// Writes the reason, as a part of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS[*self as usize].2)
    }
}

/// Returns the index of the disk to take among `candidates`, and what decided. Returns `None` if no
/// candidate is as sure as `enough`.
#[must_use]
pub fn choose(told: &Told, candidates: &[Candidate], enough: Certainty) -> Option<(usize, By)> {
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    let mut by = By::BeingAlone;
    let named = |candidate: &Candidate| candidate.certainty(told).is_some();
    let exactly = |candidate: &Candidate| candidate.evidence.counted == Counted::Exactly;
    let plausibly = |candidate: &Candidate| candidate.evidence.counted != Counted::No;
    let has_root = |candidate: &Candidate| candidate.evidence.has_root;
    let is_whole = |candidate: &Candidate| candidate.is_whole;
    let is_fixed = |candidate: &Candidate| !candidate.is_removable;
    let at_home =
        |candidate: &Candidate| candidate.evidence.last_place.as_ref() == Some(&candidate.place);
    type Speaks<'a> = &'a dyn Fn(&Candidate) -> bool;
    let steps: [(By, Speaks<'_>); 7] = [
        (By::Guid, &named),
        (By::Environment, &exactly),
        (By::Environment, &plausibly),
        (By::RootHash, &has_root),
        (By::Partitions, &is_whole),
        (By::BeingFixed, &is_fixed),
        (By::Place, &at_home),
    ];
    for (step, speaks_for) in steps {
        let kept: Vec<usize> =
            left.iter().copied().filter(|&index| speaks_for(&candidates[index])).collect();
        // Only the GUID is a demand. The right disk may lack any other sign.
        if kept.is_empty() && step != By::Guid {
            continue;
        }
        if left.len() > 1 && kept.len() <= 1 {
            by = step;
        }
        left = kept;
    }
    match candidates {
        [only] => by = only.evidence.strongest(),
        _ if left.len() > 1 => by = By::Nothing,
        _ => {}
    }
    let index = left.into_iter().min_by_key(|&index| &candidates[index].place)?;
    candidates[index].certainty(told).filter(|certainty| *certainty <= enough).map(|_| (index, by))
}

/// What daruma-init found, for the agent: the text of [`DiskRecord::PATH`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskRecord {
    /// The kernel's name of the device's disk, such as `vda`. It holds until the next boot.
    pub disk: String,
    /// The kernel's `diskseq` of the disk. A disk that is plugged in later has another one, even if
    /// it gets the same name.
    pub sequence: String,
    /// Where the disk hangs, see [`Candidate::place`].
    pub place: String,
    /// What told the disk from the others.
    pub by: By,
}

impl DiskRecord {
    /// Where daruma-init leaves the record, in memory.
    pub const PATH: &'static str = "/run/daruma/disk";

    /// Returns the file's text: a line for each field.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { disk, sequence, place, by } = self;
        format!("disk={disk}\nsequence={sequence}\nplace={place}\nby={}\n", by.word())
    }

    /// Reads the file's text. Returns `None` if the text is no record.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let is_name =
            |name: &&str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        Some(Self {
            disk: value("disk").filter(is_name)?.to_owned(),
            sequence: value("sequence")?.to_owned(),
            place: value("place")?.to_owned(),
            by: By::parse(value("by")?)?,
        })
    }
}
