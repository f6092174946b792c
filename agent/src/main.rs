//! The program `daruma`: a table from verb to function.
//!
//! The library does the work. Only this file prints the error of a command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent::console::{say, warn};
use agent::{Config, Device, Exit, Failure, InstallOptions, Interrupt, Mark, Status};
use clap::{Parser, Subcommand};
use image_layout::Slot;

/// Updates a device that has two copies of its system, the slots A and B.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Work on the device laid out in this folder [default: this machine]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the running system, both slots, the next boot and past events; changes nothing
    Status {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Install a bundle into the idle slot; the slot is on trial from the next boot
    Install {
        /// The bundle: a file, http://..., https://..., or oci://HOST/NAME:TAG in a registry
        #[arg(value_name = "FILE|URL")]
        file: PathBuf,
        /// Install the bundle even if it failed on this device before
        #[arg(long)]
        allow_quarantined: bool,
    },
    /// Ask the channel for a release; show which one, its size, and why or why not
    #[cfg(feature = "pull")]
    Check {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Install the release that `check` shows, now; the slot is on trial from the next boot
    #[cfg(feature = "pull")]
    Update {
        /// Reboot into the new system after the install
        #[arg(long)]
        reboot: bool,
    },
    /// Show what the device trusts: root document, keys, channel; uses no network
    #[cfg(feature = "pull")]
    Channel {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Show what differs from the image in /etc, and what the next update will do with it
    #[cfg(feature = "etc")]
    #[command(subcommand)]
    Etc(Etc),
    /// Show or change the credentials that the next boot hands to systemd
    #[cfg(feature = "provision")]
    #[command(subcommand)]
    Provision(Provision),
    /// Mark a slot good or bad: good commits a trial, bad keeps the slot from booting
    Mark {
        /// good: boot this slot, and commit it if it is on trial. bad: do not boot this slot again
        #[arg(value_enum)]
        verdict: Verdict,
        /// A or B [default: the running slot]
        slot: Option<Slot>,
    },
    /// Put the idle slot on trial again, like an update; reboot to start it
    Rollback,
    /// Empty /var at the next boot: settings, homes, data and history; the slots stay
    FactoryReset {
        /// A path that stays, below /var or in /root, /home, /srv, /opt, /usr/local; may be given
        /// several times
        #[arg(long, value_name = "PATH", num_args = 1..)]
        keep: Vec<String>,
        /// Take the request back
        #[arg(long, conflicts_with = "keep")]
        cancel: bool,
    },
    /// Check the health of this boot, then commit the system or reboot; runs as daruma.service
    Daemon,
    /// Install a bundle from a USB stick; started by daruma-init in recovery
    #[command(hide = true)]
    Recovery {
        /// Seconds to wait for a stick
        #[arg(long, default_value_t = 60)]
        wait_s: u32,
    },
}

#[cfg(feature = "etc")]
#[derive(clap::Subcommand)]
enum Etc {
    /// List the paths that differ from the image, and how the last merge went
    Status {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Show the lines that differ from the image
    Diff {
        /// A file or folder below /etc [default: all of /etc]
        path: Option<PathBuf>,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Show what the first boot of the system in the other slot will do with /etc; changes nothing
    Plan {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Give paths back to the image
    Reset {
        /// Files or folders below /etc
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
}

#[cfg(feature = "provision")]
#[derive(clap::Subcommand)]
enum Provision {
    /// List names and sizes, never values
    List {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Add a credential, or replace the one of that name
    Set {
        /// The name and the value. Without `=` the value is read from the standard input
        #[arg(value_name = "NAME[=VALUE|=@FILE]")]
        assignment: String,
    },
    /// Remove credentials
    Remove {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Verdict {
    Good,
    Bad,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(Exit::Usage as u8)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(arguments) {
        Ok(line) => {
            if !line.is_empty() {
                say(format_args!("{}", line.trim_end()));
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            warn(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(arguments: Arguments) -> Result<String, Failure> {
    let device = match &arguments.root {
        Some(folder) => Device::at(folder)?,
        None => Device::discover()?,
    };
    let config = || Config::load(&device.path(agent::config::FILE));
    match arguments.verb {
        Verb::Status { json } => status(&device, json),
        Verb::Install { file, allow_quarantined } => {
            let interrupt = Interrupt::on_signals()?;
            agent::install(
                &device,
                &config()?,
                &file,
                InstallOptions { allow_quarantined },
                &interrupt,
            )
        }
        #[cfg(feature = "pull")]
        Verb::Check { json } => {
            let asked = agent::channel::check(&device, &config()?, &Interrupt::on_signals()?)?;
            if json { as_json(&asked) } else { Ok(asked.to_string()) }
        }
        #[cfg(feature = "pull")]
        Verb::Update { reboot } => {
            agent::channel::update(&device, &config()?, reboot, &Interrupt::on_signals()?)
        }
        #[cfg(feature = "pull")]
        Verb::Channel { json } => {
            let trusted = agent::channel::show(&device, &config()?)?;
            if json { as_json(&trusted) } else { Ok(trusted.to_string()) }
        }
        #[cfg(feature = "etc")]
        Verb::Etc(verb) => etc(&device, verb),
        #[cfg(feature = "provision")]
        Verb::Provision(verb) => provision(&device, verb),
        Verb::Mark { verdict: Verdict::Good, slot } => agent::mark(&device, Mark::Good, slot),
        Verb::Mark { verdict: Verdict::Bad, slot } => agent::mark(&device, Mark::Bad, slot),
        Verb::Rollback => agent::roll_back(&device),
        Verb::FactoryReset { cancel: true, .. } => agent::cancel_reset(&device),
        Verb::FactoryReset { keep, .. } => agent::factory_reset(&device, &keep),
        Verb::Daemon => agent::daemon::run(&device, config()).map(|()| String::new()),
        Verb::Recovery { wait_s } => {
            // A bad configuration must not keep the stick from helping.
            let config = config().unwrap_or_else(|failure| {
                agent::console::warn(format_args!("{failure}; recovery works with the defaults"));
                agent::Config::default()
            });
            agent::recovery::run(&device, &config, Duration::from_secs(u64::from(wait_s)))
        }
    }
}

fn status(device: &Device, json: bool) -> Result<String, Failure> {
    let status = Status::gather(device)?;
    if json { as_json(&status) } else { Ok(status.to_string()) }
}

#[cfg(feature = "etc")]
fn etc(device: &Device, verb: Etc) -> Result<String, Failure> {
    use agent::etc;
    let lines = |text: String, json: bool| {
        if json { as_json(&text.lines().collect::<Vec<_>>()) } else { Ok(text) }
    };
    match verb {
        Etc::Status { json } => {
            let changes = etc::Changes::gather(device)?;
            if json { as_json(&changes) } else { Ok(changes.to_string()) }
        }
        Etc::Diff { path, json } => lines(etc::difference(device, path.as_deref())?, json),
        Etc::Plan { json } => {
            let report = etc::plan(device)?;
            if json { as_json(&report) } else { Ok(etc::text(&report, false)) }
        }
        Etc::Reset { paths, json } => lines(etc::reset(device, &paths)?, json),
    }
}

#[cfg(feature = "provision")]
fn provision(device: &Device, verb: Provision) -> Result<String, Failure> {
    use agent::provision;
    match verb {
        Provision::List { json } => {
            let provisioned = provision::list(device)?;
            if json { as_json(&provisioned) } else { Ok(provision::text(&provisioned)) }
        }
        Provision::Set { assignment } => provision::set(device, &assignment),
        Provision::Remove { names } => provision::remove(device, &names),
    }
}

fn as_json(what: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(what).map_err(|error| {
        Failure::new(Exit::Unexpected, format!("writing the answer as JSON: {error}"))
    })
}
