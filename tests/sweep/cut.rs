//! Computes the disks that a power cut can leave.
//!
//! `crash_disk` makes the log, and `judge` judges the disks. After every operation, one cut loses
//! all unsynced writes and one keeps them. Torn, partial and reordered states are a seeded choice.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use crate::content::{LABELS, Medium, SECTOR};
use crate::crash_disk::{Op, Recording, Story, Write};
use crate::random::Random;

/// The fate of the writes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum How {
    /// The disk lost all of them.
    Lost,
    /// The disk kept all of them.
    Kept,
    /// The last write stopped at the end of a sector. The writes before it were kept.
    Torn,
    /// The last write stopped at the end of a sector. The writes before it were lost.
    TornAlone,
    /// The last write stopped within a sector of an image. That sector has half of the new bytes.
    HalfSector,
    /// The disk kept later writes and lost earlier ones.
    Reordered,
    /// The disk kept any of the sectors, in any number.
    Subset,
}

impl How {
    pub(crate) const ALL: [Self; 7] = [
        Self::Lost,
        Self::Kept,
        Self::Torn,
        Self::TornAlone,
        Self::HalfSector,
        Self::Reordered,
        Self::Subset,
    ];
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "all unsynced writes lost",
            Self::Kept => "all unsynced writes kept",
            Self::Torn => "last write torn at a sector, the others kept",
            Self::TornAlone => "last write torn at a sector, the others lost",
            Self::HalfSector => "last write torn within a sector of an image",
            Self::Reordered => "later writes kept, earlier ones lost",
            Self::Subset => "any sectors of the unsynced writes kept",
        })
    }
}

/// The disk and the story after the cut.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Number of operations that were finished.
    pub(crate) at: usize,
    pub(crate) how: How,
    pub(crate) medium: Medium,
    pub(crate) story: Story,
}

impl Cut {
    /// Returns a hash. Two cuts that left the same state have the same hash.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.medium.fingerprint());
        hasher.write(self.story.as_deref().unwrap_or(b"there is none"));
        hasher.finish()
    }
}

/// How many of the possible cuts are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// Number of torn and of partial states for each operation on an image.
    pub(crate) per_image_write: usize,
    /// Number of torn and of partial states for each operation on the ESP.
    pub(crate) per_esp_write: usize,
    /// True if each cut also comes with the first, the next, no and a damaged story.
    pub(crate) stories: bool,
}

/// The cuts after `at` operations of a run; 0 means before the first. [`sweep`] keeps `durable` and
/// `pending`.
struct At<'a> {
    recording: &'a Recording,
    at: usize,
    durable: &'a Medium,
    pending: &'a [&'a Write],
    random: Random,
}

/// Cuts the power after every operation of `recording` for which `at_all` is true. Returns the
/// cuts.
pub(crate) fn sweep(
    recording: &Recording,
    amount: Amount,
    at_all: impl Fn(usize) -> bool,
    seed: u64,
    path: &[u64],
) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut durable = recording.before.clone();
    let mut pending: Vec<&Write> = Vec::new();
    for at in 0..=recording.ops.len() {
        match at.checked_sub(1).map(|last| &recording.ops[last]) {
            None => {}
            Some(Op::Write(write)) => pending.push(write),
            Some(Op::Sync { partition }) => pending.retain(|write| {
                if write.partition == *partition {
                    write.apply(&mut durable);
                }
                write.partition != *partition
            }),
        }
        if !at_all(at) {
            continue;
        }
        let random = Random::new(seed, &[path, &[at as u64]].concat());
        At { recording, at, durable: &durable, pending: &pending, random }.cuts(amount, &mut cuts);
    }
    cuts
}

impl At<'_> {
    fn cuts(mut self, amount: Amount, out: &mut Vec<Cut>) {
        let now = self.recording.stories[self.at].clone();
        let mut whole = vec![(How::Lost, self.durable.clone())];
        if !self.pending.is_empty() {
            whole.push((How::Kept, self.with(self.pending)));
        }
        for (how, medium) in whole {
            let mut stories = vec![now.clone()];
            if amount.stories {
                let old = self.recording.stories.first().cloned().flatten();
                // The agent is writing the next story, whose rename may be durable before the agent
                // waits for it. No later story can be durable, because the agent waits for
                // operations on the disk before it.
                let new = self.recording.stories.get(self.at + 1).cloned().flatten();
                stories.extend([old, new, None, Some(b"{\"events\": [{\"ti".as_slice().into())]);
            }
            for story in stories {
                out.push(Cut { at: self.at, how, medium: medium.clone(), story });
            }
        }
        let Some((last, earlier)) = self.pending.split_last() else { return };
        let on_esp = LABELS[last.partition] == "esp";
        let count = if on_esp { amount.per_esp_write } else { amount.per_image_write };
        let mut torn = Vec::new();
        for _ in 0..count {
            let sectors = last.bytes.len().div_ceil(SECTOR);
            let end = self.random.below(sectors.max(1)) * SECTOR;
            let mut medium = match self.random.below(2) {
                0 => (How::Torn, self.with(earlier)),
                _ => (How::TornAlone, self.durable.clone()),
            };
            self.put(&mut medium.1, last, 0, end);
            torn.push(medium.clone());
            // A disk writes a sector of the environment completely or not at all. GRUB's own
            // reading depends on that.
            if !on_esp && end < last.bytes.len() {
                self.put(&mut medium.1, last, end, end + SECTOR / 2);
                torn.push((How::HalfSector, medium.1));
            }
        }
        for _ in 0..count.min(8 * self.pending.len()) {
            torn.push((How::Reordered, self.reordered()));
        }
        for _ in 0..count {
            torn.push((How::Subset, self.subset()));
        }
        out.extend(torn.into_iter().map(|(how, medium)| Cut {
            at: self.at,
            how,
            medium,
            story: now.clone(),
        }));
    }

    fn with(&self, writes: &[&Write]) -> Medium {
        let mut medium = self.durable.clone();
        writes.iter().for_each(|write| write.apply(&mut medium));
        medium
    }

    fn put(&self, medium: &mut Medium, write: &Write, start: usize, end: usize) {
        let end = end.min(write.bytes.len());
        if start < end {
            medium.partitions[write.partition]
                .write(&write.bytes[start..end], write.offset + start);
        }
    }

    /// Keeps some whole writes. At least one is missing, and the last one may be kept.
    fn reordered(&mut self) -> Medium {
        let missing = self.random.below(self.pending.len());
        let chance = self.random.next();
        let kept: Vec<&Write> = self
            .pending
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != missing && (chance >> (index % 63)) & 1 == 1)
            .map(|(_, write)| *write)
            .collect();
        self.with(&kept)
    }

    /// Keeps or loses each sector by itself. Few, half or most of the sectors stay.
    fn subset(&mut self) -> Medium {
        let of_eight = [1, 4, 7][self.random.below(3)];
        let mut medium = self.durable.clone();
        for write in self.pending {
            let mut kept_from = None;
            for start in (0..=write.bytes.len()).step_by(SECTOR) {
                let keep = start < write.bytes.len() && self.random.next() % 8 < of_eight;
                match kept_from {
                    None if keep => kept_from = Some(start),
                    Some(from) if !keep => {
                        let end = start.min(write.bytes.len());
                        medium.partitions[write.partition]
                            .write(&write.bytes[from..end], write.offset + from);
                        kept_from = None;
                    }
                    _ => {}
                }
            }
            if let Some(from) = kept_from {
                medium.partitions[write.partition].write(&write.bytes[from..], write.offset + from);
            }
        }
        medium
    }
}
