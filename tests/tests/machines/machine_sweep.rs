//! Cuts the power at every moment of a machine's life, and judges the disks that remain.
//!
//! `tests/src/recording.rs` lets QEMU record all writes of the guest, GRUB's and the kernel's too.
//! `tests/src/machine_judge.rs` judges a disk.
//!
//! A cut leaves the writes before it, with or without the writes in the disk's cache. This file
//! also boots some of these disks.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use image_layout::Slot;
use tests::cut_disk::{Cut, CutDisk, copy_data};
use tests::machine_judge::{Bench, Fault, Judge};
use tests::recording::{BROKEN_UPDATE, FACTORY_RESET, Phase, Recording, Scenario, Taken, UPDATE};
use tests::share;
use tests::vm::{Firmware, Machine, Size, Vm};
use tests::write_log::{Entry, WriteLog};

/// Seconds that any one boot may take. These machines are slow and shared.
const BOOT: u64 = 300;
/// Number of random choices of what a cut loses, beside all and nothing.
const CHOICES: usize = 4;
/// Number of places at which the last write is torn.
const TEARS: usize = 2;
/// Number of states of each scenario that are booted.
const BOOTED: usize = 3;
/// Number of cuts for each lie that the sweep must notice.
const CUTS_A_LIE: usize = 40;

/// The random numbers of SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit.max(1) as u64) as usize
    }
}

/// Returns the cuts after the entries of `range`.
///
/// Some cuts keep all writes. Some lose writes that were in the cache, in different ways. Some tear
/// the last write.
fn cuts(disk: &CutDisk, range: Range<usize>, dice: &mut Dice) -> Vec<Cut> {
    let mut cuts = vec![Cut::default()];
    for entry in range.filter(|&entry| !disk.sectors(entry).is_empty()) {
        let at = entry + 1;
        cuts.push(Cut { at, ..Cut::default() });
        let length = disk.sectors(entry).count();
        for _ in 0..TEARS.min(length - 1) {
            let torn = Some(1 + dice.below(length - 1) as u64);
            cuts.push(Cut { at, torn, ..Cut::default() });
        }
        let cached = disk.in_cache(at);
        // If the cache has only one write, losing it is the same as the cut before it.
        if cached.len() > 1 {
            cuts.push(Cut { at, lost: cached.iter().copied().collect(), torn: None });
            for _ in 0..CHOICES {
                let lost = cached.iter().copied().filter(|_| dice.below(2) == 0).collect();
                cuts.push(Cut { at, lost, torn: None });
            }
            // A loss of half of the writes seldom stays unnoticed. The loss of a single write may.
            let lost = [cached[dice.below(cached.len())]].into();
            cuts.push(Cut { at, lost, torn: None });
        }
    }
    cuts
}

/// Returns a seeded part of the cuts.
///
/// Cuts next to a write of the environment or of the partition table are steps of the protocol, so
/// all of them stay. At least one cut of each phase stays.
fn sample(cuts: Vec<Cut>, judge: &Judge<'_>, one_of: usize, dice: &mut Dice) -> Vec<Cut> {
    let mut phases = HashSet::new();
    cuts.into_iter()
        .filter(|cut| {
            let last = cut.at.checked_sub(1);
            let is_step =
                last.is_some_and(|entry| judge.is_environment(entry) || judge.is_table(entry));
            // The dice are rolled for each cut. So the same seed always keeps the same cuts.
            let by_chance = dice.below(one_of) == 0;
            phases.insert(judge.phase(cut.at).from) || is_step || by_chance
        })
        .collect()
}

#[derive(Default)]
struct Tally {
    tried: usize,
    distinct: HashSet<u128>,
    /// Number of disks by phase and by what GRUB takes.
    taken: BTreeMap<(usize, &'static str), BTreeMap<String, usize>>,
    faults: Vec<(Cut, Fault)>,
}

impl Tally {
    fn add(
        &mut self,
        cut: &Cut,
        hash: u128,
        judge: &Judge<'_>,
        taken: Option<Taken>,
        fault: Option<Fault>,
    ) {
        self.tried += 1;
        self.faults.extend(fault.map(|fault| (cut.clone(), fault)));
        if !self.distinct.insert(hash) {
            return;
        }
        let phase = judge.phase(cut.at);
        let taken = match taken {
            Some((slot, true)) => format!("{slot} on trial"),
            Some((slot, false)) => slot.to_string(),
            None => "nothing".to_owned(),
        };
        *self.taken.entry((phase.from, phase.name)).or_default().entry(taken).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        self.tried += other.tried;
        self.distinct.extend(other.distinct);
        for (phase, taken) in other.taken {
            for (what, count) in taken {
                *self.taken.entry(phase).or_default().entry(what).or_default() += count;
            }
        }
        self.faults.extend(other.faults);
    }
}

/// Judges all the cuts, on as many threads as there are processors.
fn sweep(judge: &Judge<'_>, cuts: &[Cut]) -> Result<Tally> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = |share: &[Cut]| {
        let mut bench = Bench::new(judge)?;
        let mut tally = Tally::default();
        for cut in share {
            let hash = bench.go_to(cut)?;
            // The verdict on the same content may differ from phase to phase.
            let (taken, fault) = bench.judge(cut.at).with_context(|| format!("{cut:?}"))?;
            tally.add(cut, hash, judge, taken, fault);
        }
        anyhow::Ok(tally)
    };
    thread::scope(|scope| {
        let shares = cuts.chunks(cuts.len().div_ceil(workers).max(1));
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || work(share))).collect();
        let mut all = Tally::default();
        for thread in threads {
            all.merge(thread.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        Ok(all)
    })
}

fn whole_machine(scenario: &Scenario, recording: &Recording) -> Result<()> {
    let (seed, one_of) = (share::seed()?, share::one_of(24)?);
    let mut dice = Dice(seed);
    let disk = CutDisk::new(&recording.base, recording.size, recording.log.clone())?;
    let judge = Judge::new(recording, &disk)?;
    let all = cuts(&disk, 0..disk.log.entries.len(), &mut dice);
    let possible = all.len();
    let cuts = sample(all, &judge, one_of, &mut dice);
    let start = Instant::now();
    let tally = sweep(&judge, &cuts)?;
    let judged_s = start.elapsed().as_secs();
    let flushes = disk.log.entries.iter().filter(|entry| **entry == Entry::Flush).count();
    let writes = disk.log.entries.len() - flushes;
    println!("{}: {writes} writes and {flushes} flushes recorded, seed {seed}", scenario.name);
    for ((_, phase), taken) in &tally.taken {
        let taken: Vec<String> =
            taken.iter().map(|(what, count)| format!("{count} boot {what}")).collect();
        println!("  {phase}: {}", taken.join(", "));
    }
    let (grub, var) = judge.runs();
    println!(
        "  {} of {possible} cuts, {} distinct disks, {} faults; grub-emu ran {grub} times, \
         e2fsck on {var} /var, {judged_s} s",
        tally.tried,
        tally.distinct.len(),
        tally.faults.len(),
    );
    if let Some((cut, fault)) = tally.faults.first() {
        bail!("{} faults; the first: {cut:?}: {fault:?}", tally.faults.len());
    }
    let least = if one_of == 1 { 300 } else { 60 };
    ensure!(tally.distinct.len() >= least, "only {} distinct disks", tally.distinct.len());
    // The booted cuts are from different phases. The last phases come first.
    let mut bench = Bench::new(&judge)?;
    // The last phase may have no cut, if nothing was left to write.
    let own = |phase: &Phase| -> Vec<&Cut> {
        cuts.iter().filter(|cut| judge.phase(cut.at).from == phase.from).collect()
    };
    let booted = if one_of == 1 { BOOTED } else { 1 };
    let phases = recording.phases.iter().rev().map(|phase| (phase, own(phase)));
    for (phase, own) in phases.filter(|(_, own)| !own.is_empty()).take(booted) {
        let cut = own.get(dice.below(own.len())).context("a phase without a cut")?;
        bench.go_to(cut)?;
        let (taken, _) = bench.judge(cut.at)?;
        let slot =
            if scenario.ends_in_a { Slot::A } else { taken.context("judged as not booting")?.0 };
        let start = Instant::now();
        comes_up(&bench.disk(), slot).with_context(|| format!("{}, {cut:?}", phase.name))?;
        println!(
            "  booted a cut in {:?}: slot {slot}, committed, {} s",
            phase.name,
            start.elapsed().as_secs()
        );
    }
    Ok(())
}

/// Boots a copy of the disk until `slot` is healthy and committed.
fn comes_up(disk: &Path, slot: Slot) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let own = dir.path().join("disk.raw");
    let (from, to) = (File::open(disk)?, File::create_new(&own)?);
    let size = from.metadata()?.len();
    to.set_len(size)?;
    copy_data(&from, &to, 0, 0, size)?;
    let log = dir.path().join("serial.log");
    let (firmware, size) = (Firmware::Bios, Size::Tiny);
    let machine = Machine { disk: own, format: "raw", data: None, firmware, size, log };
    let mut vm = Vm::start(&machine)?;
    vm.expect_all(&["tiny# ", &format!("slot {slot} is healthy")], 3 * BOOT)?;
    let status = vm.json("daruma status --json", 60)?;
    let good = status["running"] == slot.name()
        && status["state"] == "committed"
        && status["health"] == "healthy";
    ensure!(good, "{status}");
    Ok(())
}

fn update() -> Result<&'static Recording> {
    static ONCE: OnceLock<Result<Recording, String>> = OnceLock::new();
    let record = || Recording::of(&UPDATE).map_err(|error| format!("{error:#}"));
    ONCE.get_or_init(record).as_ref().map_err(|error| anyhow!("{error}"))
}

#[test]
fn a_power_cut_at_any_moment_of_an_update_leaves_a_whole_system() -> Result<()> {
    whole_machine(&UPDATE, update()?)
}

#[test]
fn a_power_cut_at_any_moment_of_a_broken_update_leaves_a_whole_system() -> Result<()> {
    whole_machine(&BROKEN_UPDATE, &Recording::of(&BROKEN_UPDATE)?)
}

#[test]
fn a_power_cut_at_any_moment_of_a_factory_reset_leaves_a_var_or_the_request() -> Result<()> {
    whole_machine(&FACTORY_RESET, &Recording::of(&FACTORY_RESET)?)
}

/// Returns true for a fault that shows the lie.
type Symptom = fn(&Fault) -> bool;

#[test]
fn a_disk_or_a_program_that_breaks_the_order_is_found_out() -> Result<()> {
    let recording = update()?;
    let mut dice = Dice(share::seed()?);
    let truth = CutDisk::new(&recording.base, recording.size, recording.log.clone())?;
    let judge = Judge::new(recording, &truth)?;
    let begin = |phase: usize| recording.phases[phase].from;
    let (install, trial, committed) = (begin(1), begin(2), begin(3));
    let last = |mut range: Range<usize>, kind: &dyn Fn(usize) -> bool| {
        range.rfind(|&entry| kind(entry)).context("the recording lacks what is to be broken")
    };
    let is_environment = |entry: usize| judge.is_environment(entry);
    let is_payload = |entry: usize| judge.is_payload(entry);
    let flip = last(install..trial, &is_environment)?;
    let payload = last(install..trial, &is_payload)?;
    let nothing = || Entry::Write { first: 0, data: Vec::new(), durable: false };
    let mixed: Symptom = |fault| matches!(fault, Fault::Mixed(_));
    let lost: Symptom = |fault| matches!(fault, Fault::CommittedLost(_));
    // GRUB refuses a boot image that is not whole, and then takes the old system. That is not
    // allowed either.
    let either: Symptom = |fault| matches!(fault, Fault::Mixed(_) | Fault::CommittedLost(_));
    let no_boot: Symptom = |fault| matches!(fault, Fault::DoesNotBoot(_));

    let mut lies: Vec<(&str, Vec<Entry>, Range<usize>, Symptom)> = Vec::new();
    let whole = || recording.log.entries.clone();

    let mut entries = whole();
    entries[install..trial]
        .iter_mut()
        .filter(|entry| **entry == Entry::Flush)
        .for_each(|entry| *entry = nothing());
    lies.push(("the disk takes flushes for nothing", entries, flip..committed, either));

    let mut entries = whole();
    let moved = entries.remove(flip);
    let first = (install..payload).find(|&entry| is_payload(entry)).context("payload")?;
    entries.insert(first, moved);
    lies.push(("the flip comes before the payload", entries, install..payload, mixed));

    let mut entries = whole();
    entries[payload] = nothing();
    lies.push(("one write of the payload is lost after all", entries, flip..committed, either));

    let mut entries = whole();
    for entry in (trial..entries.len()).filter(|&entry| is_environment(entry)) {
        entries[entry] = nothing();
    }
    lies.push((
        "no write of the environment after the install is kept",
        entries,
        committed..whole().len(),
        lost,
    ));

    let mut entries = whole();
    let table = last(0..install, &|entry| judge.is_table(entry))?;
    if let Entry::Write { data, .. } = &mut entries[table] {
        data.iter_mut().for_each(|byte| *byte = !*byte);
    }
    lies.push(("the partition table is written wrong", entries, table..install, no_boot));

    let mut entries = whole();
    let var = last(install..trial, &|entry| {
        entry < flip
            && truth.sectors(entry).count() == 8
            && !is_payload(entry)
            && !is_environment(entry)
    })?;
    if let Entry::Write { first, data, .. } = &mut entries[var] {
        // The first block of /var holds the superblock of ext4.
        *first = judge.start_of_var();
        data.fill(0xa5);
    }
    lies.push(("a write to /var goes astray", entries, var..flip, no_boot));

    for (name, entries, range, symptom) in lies {
        let disk = CutDisk::new(&recording.base, recording.size, WriteLog { entries })?;
        let judge = Judge::new(recording, &disk)?;
        let mut cuts = cuts(&disk, range, &mut dice);
        while cuts.len() > CUTS_A_LIE {
            cuts.swap_remove(dice.below(cuts.len()));
        }
        let tally = sweep(&judge, &cuts)?;
        let found = tally.faults.iter().filter(|(_, fault)| symptom(fault)).count();
        println!("{name}: found out by {found} of {} cuts", tally.tried);
        ensure!(found > 0, "{name}: not found out; {:?}", tally.faults.first());
    }
    Ok(())
}
