//! `make bench`: measures Daruma, `dd`, Debian's RAUC, initramfs-tools, mmdebstrap and debos side
//! by side, in one run.
//!
//! Each module measures one thing, and `table` prints the result. docs/benchmarks.md explains each
//! row and keeps the last published run.
//!
//! Only ratios and sizes are judged, because times depend on the machine.

mod apply;
mod boot;
mod build;
mod daruma;
mod download;
mod footprint;
mod install;
mod medium;
mod merge;
mod mirror;
mod packing;
mod process;
mod rauc;
mod sample;
mod sandbox;
mod size;
mod slots;
mod sys;
mod table;
mod update;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use image_layout::Slot;
use tests::fixture::Fixture;

use boot::BootFiles;
use daruma::Daruma;
use download::{Pair, Shares};
use footprint::Footprint;
use install::{Contest, Workload};
use rauc::Rauc;
use sandbox::Sandbox;
use slots::Kind;
use table::{Row, Table, Target};
use update::Channel;

/// The recipe and version of the system that runs, and below those of the installed one.
const RUNNING: (&str, &str) = ("tests/recipes/demo-1.yaml", "1.0.0");
const INSTALLED: (&str, &str) = ("tests/recipes/demo-2.yaml", "2.0.0");

fn main() -> Result<ExitCode> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == process::METER) {
        return process::meter(&words[1..]).map(|()| ExitCode::SUCCESS);
    }
    if words.first().is_some_and(|word| word == apply::APPLY) {
        return apply::apply(&words[1..]).map(|()| ExitCode::SUCCESS);
    }
    if words.first().is_some_and(|word| word == apply::BLOCKS) {
        return apply::blocks(&words[1..]).map(|()| ExitCode::SUCCESS);
    }
    let cache = match std::env::var_os("DARUMA_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?)
            .join(".cache/daruma"),
    };
    let only_download = words.first().is_some_and(|word| word == DOWNLOAD);
    if words.first().is_some_and(|word| word == MERGE) {
        return sandbox::run(&cache, only_merge);
    }
    if words.first().is_some_and(|word| word == BUILD) {
        return sandbox::run(&cache, only_build);
    }
    if words.first().is_some_and(|word| word == SIZE) {
        return sandbox::run(&cache, |_| size::print(&Fixture::open()?));
    }
    if words.first().is_some_and(|word| word == PACKINGS) {
        let number = |word: &std::ffi::OsString| word.to_str().and_then(|word| word.parse().ok());
        let wanted: Vec<usize> = words.iter().skip(1).filter_map(number).collect();
        return sandbox::run(&cache, |sandbox| packing::print(&Fixture::open()?, sandbox, &wanted));
    }
    sandbox::run(
        &cache,
        |sandbox| if only_download { download(sandbox) } else { bench(&cache, sandbox) },
    )
}

/// First argument of a run that measures only what is fetched. Bytes do not depend on other work of
/// the machine.
const DOWNLOAD: &str = "download";

/// First argument of a run that measures only the merge of /etc. Instructions do not depend on
/// other work either.
const MERGE: &str = "merge";

/// First argument of a run that measures only what a build takes.
const BUILD: &str = "build";

/// Prints the rows of the build.
fn only_build(sandbox: &Sandbox) -> Result<()> {
    println!("{}", Table(build::rows(&Fixture::open()?, sandbox)?));
    println!("Median (least–most) of runs that were taken in turns.");
    Ok(())
}

/// First argument of a run that prints the sizes of the systems. Sizes do not depend on other work.
const SIZE: &str = "size";

/// First argument of a run that packs the router in several ways; the numbers of the ways follow.
const PACKINGS: &str = "packings";

/// Prints the row of the merge of /etc.
fn only_merge(sandbox: &Sandbox) -> Result<()> {
    let fixture = Fixture::open()?;
    let disk = fixture.disk(&fixture.bundle(RUNNING.0, RUNNING.1)?)?;
    let update = fixture.bundle(INSTALLED.0, INSTALLED.1)?;
    println!("{}", Table(vec![merge::row(&disk, &update, &sandbox.work.join("merge"))?]));
    Ok(())
}

/// Prints the table of what is fetched.
fn download(sandbox: &Sandbox) -> Result<()> {
    let fixture = Fixture::open()?;
    say("fetching");
    let workload = |(recipe, version): (&str, &str)| {
        Workload::of(&fixture, &fixture.bundle(recipe, version)?, &sandbox.work.join(version))
    };
    let (old, new) = (workload(RUNNING)?, workload(INSTALLED)?);
    let pair = Pair { old: &old, new: &new };
    let dir = sandbox.work.join("download");
    let (ours, costs) = pair.daruma(&fixture, &dir)?;
    let fetches = [ours, pair.peers(&dir)?].concat();
    let shares = Shares { full: pair.full()?, fetches };
    let full = table::mib(shares.full);
    println!(
        "What is fetched for 1.0.0 → 2.0.0, boot and root image together ({full}):\n\n{shares}"
    );
    println!("What it costs to make 2.0.0 of it, without writing it:\n\n{costs}");
    Ok(())
}

fn bench(cache: &Path, sandbox: &Sandbox) -> Result<()> {
    let fixture = Fixture::open()?;
    say("building or finding what is measured");
    let running = fixture.bundle(RUNNING.0, RUNNING.1)?;
    let disk = fixture.disk(&running)?;
    let bundle = fixture.bundle(INSTALLED.0, INSTALLED.1)?;
    let debian = root_filesystem(&fixture, cache, "initramfs-tools")?;
    let rauc_tar = sandbox.is_root.then(|| root_filesystem(&fixture, cache, "rauc")).transpose()?;

    let small = Workload::of(&fixture, &bundle, &sandbox.work.join("small"))?;
    let large = small.large(&fixture, &sandbox.work.join("large"))?;
    let (_, small_root) = small.images.sizes()?;
    // The large bundle has more chunks, so its table makes the boot image larger.
    let (boot_b, large_root) = large.images.sizes()?;
    let device = |name: &str, root_b, kind| {
        Daruma::new(&fixture, &sandbox.work.join(name), &disk, boot_b, root_b, kind)
    };
    let kind = if sandbox.is_root { Kind::Loops } else { Kind::Files };
    let daruma = device("device", large_root, kind)?;
    let rauc = match &rauc_tar {
        Some(tar) => Some(Rauc::start(tar, &sandbox.work.join("rauc"), daruma.slots())?),
        None => None,
    };
    let mut table = Table::default();

    say("building a router");
    let built = build::rows(&fixture, sandbox)?;
    let rauc_idle = rauc.as_ref().map(Rauc::resident).transpose()?;
    let idle = daruma.idle_daemon()?;
    table.0.push(Row::sizes(
        "idle daemon, resident",
        idle,
        "RAUC's service",
        rauc_idle,
        Target::Mib(8.0),
    ));
    table.0.extend(footprint(&fixture, rauc.as_ref())?);
    let channel = Channel::new(&fixture, sandbox, &sandbox.work.join("channel"), &running, &small)?;
    say("installing");
    let contest = Contest { sandbox, daruma: &daruma, rauc: rauc.as_ref() };
    table.0.extend(contest.rows(&small, &large)?);
    table.0.extend(channel.rows(&daruma, "same slots")?);
    let mut devices = 1;
    if sandbox.is_root {
        say("installing to slower disks");
        for speed in medium::SPEEDS {
            let name = format!("slow-{}", speed.write);
            let daruma = device(&name, small_root, Kind::Slow(speed))?;
            table
                .0
                .extend(Contest { sandbox, daruma: &daruma, rauc: None }.slow_rows(&small, speed)?);
            table.0.extend(
                channel.rows(&daruma, &format!("disk of {} MB/s", speed.write / 1_000_000))?,
            );
            devices += 1;
        }
    }
    channel.close(devices)?;
    table.0.extend(built);
    say("booting");
    let dir = sandbox.work.join("boot");
    let booted = BootFiles::of(&disk, Slot::A, &dir).and_then(|boot| boot.rows(&debian, &dir));
    let merged = merge::row(&disk, &bundle, &dir.join("merge"));
    // The other measurements are printed even if a guest crashes.
    let booted = booted.map(|rows| table.0.extend(rows));
    let merged = merged.map(|row| table.0.push(row));

    if let Some(rauc) = &rauc {
        println!("Peer: {} of Debian trixie.\n", rauc.version()?);
    }
    println!("{table}");
    println!("Median (least–most) of runs that were taken in turns.\n");
    booted?;
    merged?;
    download(sandbox)
}

/// Returns the tar of a peer's root filesystem. The bundler keeps it by the state of the archive
/// and the recipe.
fn root_filesystem(fixture: &Fixture, cache: &Path, name: &str) -> Result<PathBuf> {
    let tar = cache.join(format!("rootfs/bench-{name}.tar"));
    std::fs::create_dir_all(cache.join("rootfs"))?;
    let recipe = fixture.repo(&format!("tests/bench/recipes/{name}.yaml"));
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
    fixture.bundler(&[
        "build",
        &text(&recipe)?,
        "-o",
        &text(&tar)?,
        "--cache",
        &text(&cache.join("build"))?,
    ])?;
    Ok(tar)
}

/// Compares the size of the agent with its libraries with that of RAUC. Both are in the same root
/// filesystem, if there is one.
fn footprint(fixture: &Fixture, rauc: Option<&Rauc>) -> Result<Vec<Row>> {
    let agent = fixture.program("daruma");
    let (ours, theirs) = match rauc {
        None => (Footprint::of(&agent, Path::new("/"))?, None),
        Some(rauc) => {
            std::fs::copy(&agent, rauc.root().join("usr/bin/daruma"))?;
            let ours = Footprint::of(Path::new("/usr/bin/daruma"), rauc.root())?;
            (ours, Some(Footprint::of(Path::new("/usr/bin/rauc"), rauc.root())?))
        }
    };
    let what = match &theirs {
        Some(theirs) => {
            format!("agent with its {} libraries (RAUC: {})", ours.libraries, theirs.libraries)
        }
        None => format!("agent with its {} libraries", ours.libraries),
    };
    Ok(vec![Row::sizes(
        &what,
        ours.bytes,
        "RAUC",
        theirs.map(|theirs| theirs.bytes),
        Target::Mib(6.0),
    )])
}

fn say(text: &str) {
    eprintln!("bench: {text}");
}
