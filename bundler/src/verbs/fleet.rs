//! The verbs for whole fleets: they turn arguments into calls of the library.
//!
//! `watch` and `simulate` do the work. This file writes the text that people read.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bundle::{ChannelName, Compatible, SecretKey};
use bundler::repo::Repository;
use bundler::share::Share;
use bundler::simulate::{DAYS_MAX, DEVICES_MAX, Offer, Scenario, Window};
use bundler::watch::{Finding, StopRule, Tally, findings};
use clap::Args;
use semver::Version;

#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// The repository's folder
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// The channel's name
    #[arg(long, default_value = "stable")]
    channel: ChannelName,
    /// The server's access log, with the User-Agent of each request; - is standard input. Repeat
    /// the option to count several logs together
    #[arg(long = "log", value_name = "FILE", required = true)]
    logs: Vec<PathBuf>,
    /// Withdraw a release if surely more than this share of its devices fell back
    #[arg(long, value_name = "PERCENT")]
    stop_above: Share,
    /// Secret key of the channel role; repeat the option until the threshold is met. Without a key
    /// this verb withdraws nothing: a release that fails is then an error
    #[arg(long = "key", value_name = "KEY.pem")]
    keys: Vec<PathBuf>,
    /// Days until the channel expires, if this verb signs the channel
    #[arg(
        long,
        value_name = "N",
        default_value_t = 90,
        value_parser = clap::value_parser!(u32).range(1..=3660),
    )]
    expires_days: u32,
}

pub(crate) fn watch(arguments: Watch) -> Result<()> {
    let Watch { repo, channel: name, logs, stop_above, keys, expires_days } = arguments;
    let keys = keys.iter().map(|path| Ok(SecretKey::load(path)?)).collect::<Result<Vec<_>>>()?;
    let mut tally = Tally::new(&name);
    for path in &logs {
        let reading = || format!("reading the log {}", path.display());
        let log: Box<dyn BufRead> = match path.to_str() {
            Some("-") => Box::new(std::io::stdin().lock()),
            _ => Box::new(BufReader::new(File::open(path).with_context(reading)?)),
        };
        tally.read(log).with_context(reading)?;
    }
    // Each step opens the repository again, because its lock makes other publishers wait.
    let channel = Repository::open(&repo)?.channel(&name)?;
    let rule = StopRule { above: stop_above };
    for Finding { release, results, stops } in findings(&channel, &tally, rule) {
        let reason = rule.reason(results);
        let (kind, version) = (&release.compatible, &release.version);
        println!(
            "{kind} {version}: {reason}{}",
            if release.withdrawn.is_some() { "; withdrawn" } else { "" }
        );
        if !stops {
            continue;
        }
        if keys.is_empty() {
            bail!(
                "{kind} {version} should be withdrawn ({reason}); give --key, or use \
                    `daruma-bundler withdraw`"
            );
        }
        let repo = Repository::open(&repo)?;
        let published = repo.withdraw(&name, Some(kind), version, &reason, &keys, expires_days)?;
        print!("{}", published.to_text());
    }
    Ok(())
}

#[derive(Args, Debug)]
pub(crate) struct Simulate {
    /// Simulate the newest release of this repository [default: an invented release]
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["release", "hours", "size_mb", "delta_mb"],
    )]
    repo: Option<PathBuf>,
    /// The channel's name
    #[arg(long, default_value = "stable", requires = "repo")]
    channel: ChannelName,
    /// The kind of device; needed if the channel serves several kinds
    #[arg(long, requires = "repo")]
    compatible: Option<Compatible>,
    /// The version that the fleet runs at first [default: the second newest]
    #[arg(long, value_name = "X.Y.Z", requires = "repo")]
    from: Option<Version>,
    /// Version of the invented release; the fleet runs 1.0.0
    #[arg(long, value_name = "X.Y.Z", default_value = "2.0.0")]
    release: Version,
    /// Hours until all devices may take the invented release
    #[arg(long, default_value_t = 72, value_parser = clap::value_parser!(u32).range(0..=8784))]
    hours: u32,
    /// Size of the invented release in MB
    #[arg(
        long,
        value_name = "MB",
        default_value_t = 75,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000),
    )]
    size_mb: u64,
    /// Size of a delta to the invented release in MB [default: no delta]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    delta_mb: Option<u64>,
    /// Number of devices
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_MAX)),
    )]
    devices: u32,
    /// Number of days to simulate
    #[arg(
        long,
        value_name = "N",
        default_value_t = 7,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)),
    )]
    days: u32,
    /// Hours between two polls of a device
    #[arg(
        long,
        value_name = "N",
        default_value_t = 6,
        value_parser = clap::value_parser!(u32).range(1..=720),
    )]
    poll_hours: u32,
    /// A device waits up to this many minutes longer between polls, at random
    #[arg(
        long,
        value_name = "N",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(0..=44_640),
    )]
    jitter_minutes: u32,
    /// Hours of the day, UTC, in which devices install and reboot, such as 2-5 [default: always]
    #[arg(long, value_name = "FROM-TO")]
    window: Option<Window>,
    /// Share of devices that are offline at any time, in percent
    #[arg(long, value_name = "PERCENT", default_value = "5")]
    offline: Share,
    /// Share of devices on which the release fails, in percent
    #[arg(long, value_name = "PERCENT", default_value = "0.1")]
    failing: Share,
    /// Share of the bundle that a device without a delta fetches, in percent
    #[arg(long, value_name = "PERCENT", default_value = "50")]
    fetched: Share,
    /// Withdraw the release if surely more than this share of its devices fell back, in percent
    /// [default: never]
    #[arg(long, value_name = "PERCENT")]
    stop_above: Option<Share>,
    /// Minutes between two looks at the server's log
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=10_080),
    )]
    watch_minutes: u32,
    /// Seed of all random numbers; the same seed gives the same result
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Draw the result into this file [default: no picture]
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
}

pub(crate) fn simulate(arguments: Simulate) -> Result<()> {
    let offer = match &arguments.repo {
        Some(dir) => {
            let channel = Repository::open(dir)?.channel(&arguments.channel)?;
            Offer::of(channel, arguments.compatible.as_ref(), arguments.from.as_ref())?
        }
        None => {
            let mb = |mb: u64| mb * 1_000_000;
            Offer::invented(
                arguments.release,
                arguments.hours,
                mb(arguments.size_mb),
                arguments.delta_mb.map(mb),
            )?
        }
    };
    let scenario = Scenario {
        devices: arguments.devices,
        days: arguments.days,
        poll_hours: arguments.poll_hours,
        jitter_minutes: arguments.jitter_minutes,
        window: arguments.window,
        offline: arguments.offline,
        failing: arguments.failing,
        fetched: arguments.fetched,
        stop: arguments.stop_above.map(|above| StopRule { above }),
        watch_minutes: arguments.watch_minutes,
        seed: arguments.seed,
        offer,
    };
    let run = scenario.run()?;
    print!("{}", run.to_text(&scenario));
    if let Some(path) = &arguments.svg {
        std::fs::write(path, run.to_svg(&scenario))
            .with_context(|| format!("writing {}", path.display()))?;
        println!("drawn in {}", path.display());
    }
    Ok(())
}
