//! Runs the fuzz targets for a set time each, several at once, and prints a table.
//!
//! `make fuzz` builds the targets first. The crate `hostile` has their bodies and limits.
//!
//!     fuzz seeds DIR                 writes the seeds into DIR/TARGET
//!     fuzz limits                    prints each target's limits
//!     fuzz run PROGRAMS CORPUS WORK SECONDS JOBS [TARGET…]
//!     fuzz keep PROGRAMS CORPUS WORK [TARGET…]
//!
//! `keep` minimises the findings in WORK and merges them into CORPUS.
#![allow(clippy::unwrap_used)] // a tool of the tests

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hostile::{TARGETS, Target};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["seeds", dir] => hostile::seeds::write(Path::new(dir)),
        ["limits"] => limits(),
        ["keep", programs, corpus, work, ref only @ ..] => {
            keep(&Place::new(programs, corpus, work), only)
        }
        ["run", programs, corpus, work, seconds, jobs, ref only @ ..] => {
            let (seconds, jobs) = (seconds.parse().unwrap(), jobs.parse().unwrap());
            return run(&Place::new(programs, corpus, work), seconds, jobs, only);
        }
        _ => {
            eprintln!(
                "usage: fuzz seeds DIR | limits | run PROGRAMS CORPUS WORK SECONDS JOBS [TARGET…] \
                    | keep PROGRAMS CORPUS WORK [TARGET…]"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// The folders of the programs, of the kept corpus and of the findings.
struct Place {
    programs: PathBuf,
    corpus: PathBuf,
    work: PathBuf,
}

/// The result of one target.
struct Outcome {
    executions: u64,
    seconds: u64,
    new_files: usize,
    peak_mb: u64,
    result: String,
}

impl Place {
    fn new(programs: &str, corpus: &str, work: &str) -> Self {
        let absolute = |path: &str| std::path::absolute(path).unwrap();
        Self { programs: absolute(programs), corpus: absolute(corpus), work: absolute(work) }
    }

    fn found(&self, target: &Target) -> PathBuf {
        self.work.join("found").join(target.name)
    }

    /// Returns the target's program under its limits. Its temporary files are in `/dev/shm`, in
    /// memory, if that exists.
    fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(self.programs.join(target.name));
        command.args([
            format!("-max_len={}", target.max_len),
            format!("-rss_limit_mb={}", target.rss_mb),
            format!("-malloc_limit_mb={}", target.malloc_mb),
            format!("-timeout={}", target.timeout_s),
        ]);
        // The address sanitizer keeps freed memory, to find its late uses. By default it keeps as
        // much as the whole limit.
        command.env(
            "ASAN_OPTIONS",
            "quarantine_size_mb=16:detect_leaks=0:allocator_may_return_null=0",
        );
        let temporary = if Path::new("/dev/shm").is_dir() {
            PathBuf::from("/dev/shm")
        } else {
            self.work.clone()
        };
        let temporary =
            temporary.join(format!("daruma-fuzz-{}", std::process::id())).join(target.name);
        fs::create_dir_all(&temporary).unwrap();
        command.env("TMPDIR", temporary);
        command
    }

    fn fuzz(&self, target: &Target, seconds: u64) -> Outcome {
        let (found, log) = (self.found(target), self.work.join(format!("{}.log", target.name)));
        fs::create_dir_all(&found).unwrap();
        let crashes = self.work.join("crashes");
        fs::create_dir_all(&crashes).unwrap();
        let before = fs::read_dir(&found).unwrap().count();
        let mut command = self.command(target);
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        command.arg(format!("-artifact_prefix={}/{}-", crashes.display(), target.name));
        command.arg(&found).arg(self.corpus.join(target.name));
        let started = Instant::now();
        let status = command
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .status();
        let status =
            status.unwrap_or_else(|error| panic!("{}: {error}; run make fuzz", target.name));
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        let stat = |name: &str| -> u64 {
            let value =
                text.lines().rev().find_map(|line| line.strip_prefix(&format!("stat::{name}:")));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        let result = if status.success() {
            "none found".to_owned()
        } else {
            let why =
                text.lines().find(|line| line.contains("ERROR:") || line.contains("panicked at"));
            format!("FOUND: {} ({})", why.unwrap_or("it ended early"), log.display())
        };
        Outcome {
            executions: stat("number_of_executed_units"),
            seconds: started.elapsed().as_secs(),
            new_files: fs::read_dir(&found).unwrap().count() - before,
            peak_mb: stat("peak_rss_mb"),
            result,
        }
    }
}

fn limits() {
    println!(
        "| target | `-max_len`, bytes | `-rss_limit_mb` | `-malloc_limit_mb` | `-timeout`, s \
            |\n|---|---|---|---|---|"
    );
    for Target { name, max_len, rss_mb, malloc_mb, timeout_s, .. } in TARGETS {
        println!("| {name} | {max_len} | {rss_mb} | {malloc_mb} | {timeout_s} |");
    }
}

fn run(place: &Place, seconds: u64, jobs: usize, only: &[&str]) -> ExitCode {
    let targets: Vec<&Target> =
        TARGETS.iter().filter(|t| only.is_empty() || only.contains(&t.name)).collect();
    assert!(!targets.is_empty(), "no such target: {only:?}");
    limits();
    println!("\n{} targets, {seconds} s each, {jobs} at once", targets.len());
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(target) = targets.get(index) else { break };
                    let outcome = place.fuzz(target, seconds);
                    println!(
                        "{}: {} executions, {}",
                        target.name, outcome.executions, outcome.result
                    );
                    outcomes.lock().unwrap().push((index, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|(index, _)| *index);
    println!(
        "\n| target | executions | seconds | new corpus files | peak memory, MiB | crash, hang or \
            limit |"
    );
    println!("|---|---|---|---|---|---|");
    let mut code = ExitCode::SUCCESS;
    for (index, Outcome { executions, seconds, new_files, peak_mb, result }) in outcomes {
        println!(
            "| {} | {executions} | {seconds} | {new_files} | {peak_mb} | {result} |",
            targets[index].name
        );
        if result != "none found" || executions == 0 {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// At most this many files and bytes of a target are kept.
const KEPT: (usize, usize) = (60, 300 << 10);

fn keep(place: &Place, only: &[&str]) {
    for target in TARGETS.iter().filter(|target| only.is_empty() || only.contains(&target.name)) {
        let (kept, merged) =
            (place.corpus.join(target.name), place.work.join("merged").join(target.name));
        let _ = fs::remove_dir_all(&merged);
        fs::create_dir_all(&merged).unwrap();
        let mut command = place.command(target);
        command.args(["-merge=1", "-verbosity=0"]).arg(&merged).arg(&kept).arg(place.found(target));
        fs::create_dir_all(place.found(target)).unwrap();
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}: {}", target.name, String::from_utf8_lossy(&out.stderr));
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut files: Vec<PathBuf> =
            fs::read_dir(&merged).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort_by_key(|file| (file.metadata().unwrap().len(), name(file)));
        // Seeds and regressions have a `-` in their names and stay. A merged file has a hash as its
        // name.
        let mut room = KEPT;
        for file in fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()) {
            if name(&file).contains('-') {
                room = (room.0 - 1, room.1.saturating_sub(file.metadata().unwrap().len() as usize));
            } else {
                fs::remove_file(file).unwrap();
            }
        }
        // The files are taken evenly from small to large, so that large ones are kept, too.
        let step = files.len().div_ceil(room.0.max(1)).max(1);
        for file in files.iter().step_by(step) {
            let len = file.metadata().unwrap().len() as usize;
            if room.0 == 0 || len > room.1 {
                continue;
            }
            fs::copy(file, kept.join(name(file))).unwrap();
            room = (room.0 - 1, room.1 - len);
        }
        println!(
            "{}: {} of {} files kept",
            target.name,
            fs::read_dir(&kept).unwrap().count(),
            files.len()
        );
    }
}
