//! Runs all scenarios with all cuts, on all processors.
//!
//! `scenario` has the scenarios, `cut` makes the cuts, and `judge` judges them. If a cut run goes
//! on and finishes the job, that run is cut too.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use crate::crash_disk::Recording;
use crate::cut::{Amount, Cut, How, sweep};
use crate::judge::{Case, Decisions, Judge};
use crate::random::Random;
use crate::scenario::{self, Scenario};
use crate::system::Systems;

/// A run with at most this many operations can be cut at all of them.
const FEW_OPERATIONS: usize = 40;
/// Number of cuts of a second run that is not cut everywhere.
const SECOND_CUTS: usize = 2;
/// Number of tasks that a worker takes at once. One start of GRUB then answers for many of them.
const TASKS_AT_ONCE: usize = 96;

/// The amount of work.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    /// Factor for the number of partial states of the images.
    pub(crate) more: usize,
    /// Only scenarios with this text in their names are run.
    pub(crate) only: String,
    /// One of this many cuts is made, but at least one at each operation. 1 means all cuts.
    pub(crate) one_of: usize,
}

/// A crash state that is wrong.
#[derive(Debug)]
pub(crate) struct Violation {
    scenario: &'static str,
    place: String,
    why: String,
}

/// The counts of one scenario.
#[derive(Clone, Copy, Default, Debug)]
struct Count {
    operations: usize,
    first: usize,
    second: usize,
}

#[derive(Default)]
struct Findings {
    seen: HashSet<(usize, u64)>,
    counts: Vec<Count>,
    /// The number of first cuts that were made. `possible` is the number that a whole sweep makes.
    /// Many cuts leave the same state as another one.
    made: usize,
    possible: usize,
    by_how: BTreeMap<How, usize>,
    violations: Vec<Violation>,
}

/// A first cut and the facts that are known about it.
struct Task {
    scenario: usize,
    cut: Cut,
    /// True if the cut is next to a write of the environment.
    near_env: bool,
}

/// Runs the sweep and prints the tables. Returns false if a state is wrong.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<bool> {
    let started = Instant::now();
    let folder = tempfile::TempDir::new_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let systems = Systems::make(folder.path())?;
    let decisions = Decisions::default();
    let mut scenarios = scenario::all();
    scenarios.retain(|scenario| scenario.name.contains(&options.only));
    let mut findings =
        Findings { counts: vec![Count::default(); scenarios.len()], ..Findings::default() };
    let mut tasks = Vec::new();
    let judge = Judge::new(&systems, &decisions)?;
    for (number, scenario) in scenarios.iter().enumerate() {
        let recording = first_run(&judge, scenario).with_context(|| scenario.name)?;
        findings.counts[number].operations = recording.ops.len();
        let cuts = first_cuts(&recording, scenario, number, options);
        findings.possible += cuts.len();
        let cuts = sample(cuts, options, number);
        findings.made += cuts.len();
        for cut in cuts {
            if findings.meet(number, &cut) {
                findings.counts[number].first += 1;
                let near_env = near_env(&recording, cut.at);
                tasks.push(Task { scenario: number, cut, near_env });
            }
        }
    }
    let findings = Mutex::new(findings);
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| -> Result<()> {
        let work = || -> Result<()> {
            let judge = Judge::new(&systems, &decisions)?;
            loop {
                let first = next.fetch_add(TASKS_AT_ONCE, Ordering::Relaxed);
                let Some(tasks) = tasks.get(first..(first + TASKS_AT_ONCE).min(tasks.len())) else {
                    break;
                };
                judge_tasks(&judge, &scenarios, tasks, options, &findings)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a worker panicked"))?)
    })?;
    let findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.print(&scenarios, options, &decisions, started, out)?;
    Ok(findings.violations.is_empty())
}

/// Returns the run whose power is cut: GRUB boots, and the agent does the work of the scenario.
pub(crate) fn first_run(judge: &Judge<'_>, scenario: &Scenario) -> Result<Recording> {
    let medium = scenario.medium(judge.systems, &judge.grub)?;
    let case = Case { scenario, medium: &medium, story: &scenario.story() };
    judge.judge(&[case])?.pop().context("no verdict")?
}

fn first_cuts(
    recording: &Recording,
    scenario: &Scenario,
    number: usize,
    options: &Options,
) -> Vec<Cut> {
    let per_image_write = if scenario.large { 1 } else { 7 };
    let per_image_write = (per_image_write * options.more).max(1);
    let amount = Amount { per_image_write, per_esp_write: 3, stories: true };
    sweep(recording, amount, |_| true, options.seed, &[number as u64])
}

/// Returns a seeded part of the cuts, in which each operation has at least one.
fn sample(cuts: Vec<Cut>, options: &Options, scenario: usize) -> Vec<Cut> {
    if options.one_of <= 1 {
        return cuts;
    }
    let mut kept: Vec<Cut> = Vec::new();
    let mut rest = cuts.into_iter().peekable();
    while let Some(first) = rest.next() {
        let at = first.at;
        let mut of_operation = vec![first];
        while let Some(next) = rest.next_if(|cut| cut.at == at) {
            of_operation.push(next);
        }
        let mut random = Random::new(options.seed, &[scenario as u64, at as u64, 1]);
        let sure = random.below(of_operation.len());
        let chosen = of_operation.into_iter().enumerate().filter(|(index, _)| {
            let by_chance = random.below(options.one_of) == 0;
            *index == sure || by_chance
        });
        kept.extend(chosen.map(|(_, cut)| cut));
    }
    kept
}

fn near_env(recording: &Recording, at: usize) -> bool {
    // A run that makes the files of the environment anew has many operations, and each would count
    // as near. The second runs after its cuts are only sampled.
    recording.ops.len() <= FEW_OPERATIONS
        && recording.ops[at.saturating_sub(2)..(at + 2).min(recording.ops.len())]
            .iter()
            .any(|op| op.is_on("esp"))
}

/// Judges first cuts. Then cuts the runs that finished the job, and judges the states that are new.
fn judge_tasks(
    judge: &Judge<'_>,
    scenarios: &[Scenario],
    tasks: &[Task],
    options: &Options,
    findings: &Mutex<Findings>,
) -> Result<()> {
    let lock = || findings.lock().unwrap_or_else(PoisonError::into_inner);
    fn case<'a>(scenario: &'a Scenario, cut: &'a Cut) -> Case<'a> {
        Case { scenario, medium: &cut.medium, story: &cut.story }
    }
    let cases: Vec<_> =
        tasks.iter().map(|task| case(&scenarios[task.scenario], &task.cut)).collect();
    let mut second = Vec::new();
    for (task, verdict) in tasks.iter().zip(judge.judge(&cases)?) {
        let scenario = &scenarios[task.scenario];
        let place = format!("cut at {} ({})", task.cut.at, task.cut.how);
        match verdict {
            Ok(run) => second.extend(
                second_cuts(task, &run, options)
                    .into_iter()
                    .filter(|cut| lock().meet(task.scenario, cut))
                    .map(|cut| (task.scenario, place.clone(), cut)),
            ),
            Err(error) => lock().violation(scenario, place, &error),
        }
    }
    for second in second.chunks(TASKS_AT_ONCE) {
        let cases: Vec<_> =
            second.iter().map(|(number, _, cut)| case(&scenarios[*number], cut)).collect();
        for ((number, place, cut), verdict) in second.iter().zip(judge.judge(&cases)?) {
            let mut findings = lock();
            findings.counts[*number].second += 1;
            if let Err(error) = verdict {
                let place = format!("{place}, then cut at {} ({})", cut.at, cut.how);
                findings.violation(&scenarios[*number], place, &error);
            }
        }
    }
    Ok(())
}

/// Returns the cuts of the second run. In a whole sweep, every operation is cut if the first cut
/// was next to a write of the environment. Otherwise a seeded few are cut.
fn second_cuts(task: &Task, run: &Recording, options: &Options) -> Vec<Cut> {
    let path = [task.scenario as u64, task.cut.fingerprint()];
    let amount = Amount { per_image_write: 1, per_esp_write: 1, stories: false };
    let operations = run.ops.len();
    if task.near_env && operations <= FEW_OPERATIONS && options.one_of <= 1 {
        return sweep(run, amount, |_| true, options.seed, &path);
    }
    let mut random = Random::new(options.seed, &path);
    let chosen = random.below(operations + 1);
    let mut cuts = sweep(run, amount, |at| at == chosen, options.seed, &path);
    let most = if options.one_of <= 1 { SECOND_CUTS } else { 1 };
    while cuts.len() > most {
        cuts.swap_remove(random.below(cuts.len()));
    }
    cuts
}

impl Findings {
    /// Returns true if this state is new.
    fn meet(&mut self, scenario: usize, cut: &Cut) -> bool {
        let new = self.seen.insert((scenario, cut.fingerprint()));
        if new {
            *self.by_how.entry(cut.how).or_default() += 1;
        }
        new
    }

    fn violation(&mut self, scenario: &Scenario, place: String, error: &anyhow::Error) {
        self.violations.push(Violation {
            scenario: scenario.name,
            place,
            why: format!("{error:#}"),
        });
    }

    fn print(
        &self,
        scenarios: &[Scenario],
        options: &Options,
        decisions: &Decisions,
        started: Instant,
        out: &mut impl Write,
    ) -> Result<()> {
        let Options { seed, more, .. } = options;
        writeln!(out, "Power cuts on the host, seed {seed}, {more} times the images' states")?;
        writeln!(out, "{} of {} first cuts, at every operation\n", self.made, self.possible)?;
        writeln!(out, "{:>10} {:>10} {:>10}", "operations", "first cut", "second cut")?;
        let mut sum = Count::default();
        for (scenario, count) in scenarios.iter().zip(&self.counts) {
            let Count { operations, first, second } = *count;
            writeln!(out, "{operations:>10} {first:>10} {second:>10}  {}", scenario.name)?;
            sum.operations += operations;
            sum.first += first;
            sum.second += second;
        }
        writeln!(out, "{:>10} {:>10} {:>10}  in all\n", sum.operations, sum.first, sum.second)?;
        for how in How::ALL {
            writeln!(out, "{:>10}  {how}", self.by_how.get(&how).copied().unwrap_or_default())?;
        }
        let distinct: HashSet<u64> =
            self.seen.iter().map(|(_, fingerprint)| *fingerprint).collect();
        writeln!(out, "{:>10}  distinct crash states (disk and state.json)\n", distinct.len())?;
        let boots = decisions.grub_boots.load(Ordering::Relaxed);
        let sampled = decisions.without_memo.load(Ordering::Relaxed);
        let seconds = started.elapsed().as_secs();
        writeln!(
            out,
            "GRUB booted {boots} times; {sampled} states went to it again to check the memo; \
                {seconds} s"
        )?;
        for violation in self.violations.iter().take(20) {
            writeln!(
                out,
                "VIOLATION {}: {}: {}",
                violation.scenario, violation.place, violation.why
            )?;
        }
        writeln!(out, "violations: {}", self.violations.len())?;
        Ok(())
    }
}
