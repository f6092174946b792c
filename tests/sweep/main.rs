//! The power-cut sweep of the host: cuts the power at every operation on the disk of everything
//! that the agent does.
//!
//! The agent runs as it is, on a disk in memory that keeps a log ([`crash_disk`]). [`cut`] computes
//! the crash states from the log. [`judge`] judges them with the real GRUB and the agent's next
//! run. See `docs/boot-protocol.md`, "Power cuts".
//!
//!     sweep [cuts|mutations|faults|kills|programs] [--seed N] [--more N]
//!         [--one-of N] [--only SCENARIO]

mod content;
mod crash_disk;
mod cut;
mod fault;
mod faults;
mod folder;
mod judge;
mod kills;
mod mutations;
mod programs;
mod random;
mod scenario;
mod sweep;
mod system;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nix::unistd::{dup, dup2_stderr, dup2_stdout};

/// The systems and GRUB's decisions, which the smaller parts share.
struct Bench {
    _folder: tempfile::TempDir,
    systems: system::Systems,
    decisions: judge::Decisions,
}

impl Bench {
    fn new() -> Result<Self> {
        let folder = tempfile::TempDir::new_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        let systems = system::Systems::make(folder.path())?;
        Ok(Self { _folder: folder, systems, decisions: judge::Decisions::default() })
    }

    fn judge(&self) -> Result<judge::Judge<'_>> {
        judge::Judge::new(&self.systems, &self.decisions)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sweep: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut seed = 20_261_121;
    let (mut more, mut one_of) = (1, 1);
    let mut only = String::new();
    let mut part = String::from("all");
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().context("a number is missing")?.parse().context("not a number");
        match word.as_str() {
            "--seed" => seed = number()?,
            "--more" => more = number()?,
            "--one-of" => one_of = number()?,
            "--only" => only = words.next().context("a scenario's name is missing")?,
            "cuts" | "mutations" | "faults" | "kills" | "programs" => part = word,
            kills::CHILD => return kills::child(words),
            _ => bail!(
                "{word:?}: not one of cuts, mutations, faults, kills, programs, --seed N, --more \
                    N, --one-of N, --only SCENARIO"
            ),
        }
    }
    // The agent prints for a person, and here it does so thousands of times. So its output goes
    // nowhere, and the tables go to the real stdout.
    let mut out = File::from(dup(std::io::stdout())?);
    // Errors of the sweep go to the real stderr.
    let mut complaints = File::from(dup(std::io::stderr())?);
    let nowhere = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&nowhere)?;
    if std::env::var_os("SWEEP_SHOWS_ALL").is_none() {
        dup2_stderr(&nowhere)?;
    }
    let options = sweep::Options { seed, more: more as usize, only, one_of: one_of as usize };
    let result = parts(&part, &options, &mut out);
    if let Err(error) = &result {
        writeln!(complaints, "sweep: {error:#}")?;
    }
    out.flush()?;
    Ok(result.unwrap_or(false))
}

fn parts(part: &str, options: &sweep::Options, out: &mut File) -> Result<bool> {
    let mut good = true;
    let wanted = |name: &str| part == "all" || part == name;
    if wanted("cuts") {
        good &= sweep::run(options, out)?;
    }
    let bench = Bench::new()?;
    if wanted("mutations") {
        good &= mutations::run(&bench, options, out)?;
    }
    if wanted("faults") {
        good &= faults::run(&bench, out)?;
    }
    if wanted("kills") {
        good &= kills::run(&bench, out)?;
    }
    if wanted("programs") {
        good &= programs::run(&bench, out)?;
    }
    Ok(good)
}
