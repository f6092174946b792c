//! Polls the channel for the daemon, and installs when the configuration allows it.
//!
//! `channel` decides and installs. A thread of its own does this work, so that the daemon goes on
//! feeding the watchdog.

use std::hash::{BuildHasher, RandomState};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::sleep;

use crate::channel::Source;
use crate::channel::plan::plan;
use crate::channel::step::Step;
use crate::channel::update::install;
use crate::config::{Config, Reboot};
use crate::console::warn;
use crate::device::Device;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::status::state::now_s;

/// The first wait after a failure. It doubles up to the usual time between two looks.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// The longest sleep, in case the clock is set meanwhile.
const LONGEST_WAIT_S: u64 = 3600;

/// The result of one look.
enum Look {
    /// There is nothing to do.
    Nothing(String),
    /// There is something to do, in so many seconds.
    Later(String, u64),
    /// A system is installed and waits for its first boot.
    Installed(String),
}

/// Looks at the channel for ever, and installs. Returns when the machine is to be rebooted into the
/// new system, with what to tell.
pub(crate) async fn poll(device: &Device, config: &Config, tell: &impl Fn(&str)) -> String {
    let channel = &config.channel;
    if channel.url.is_none() || channel.poll.is_zero() {
        return std::future::pending().await;
    }
    let mut wait = at_random(Duration::ZERO, channel.jitter);
    let mut failures = 0;
    let mut told = String::new();
    loop {
        sleep(wait).await;
        let usual = channel.poll + at_random(Duration::ZERO, channel.jitter);
        let (own, own_config) = (device.clone(), config.clone());
        // The work has a thread of its own, so that the watchdog is fed meanwhile.
        let looked = tokio::task::spawn_blocking(move || {
            let mut taken_back = None;
            let look = look(&own, &own_config, &mut taken_back);
            (taken_back, look)
        });
        let Ok((taken_back, look)) = looked.await else {
            return std::future::pending().await;
        };
        if let Some(line) = taken_back {
            tell(&line);
        }
        let line = match look {
            Ok(look) => {
                failures = 0;
                match look {
                    Look::Nothing(line) => {
                        wait = usual;
                        line
                    }
                    Look::Later(line, seconds) => {
                        wait = usual.min(until_the_window(config, seconds));
                        line
                    }
                    Look::Installed(line) if channel.reboot == Reboot::ByHand => {
                        wait = usual;
                        format!("{line}; reboot to start it")
                    }
                    Look::Installed(line) => match seconds_to_window(config) {
                        0 => return format!("{line}; rebooting"),
                        seconds => {
                            wait = usual.min(until_the_window(config, seconds));
                            format!("{line}; the reboot waits for the window")
                        }
                    },
                }
            }
            Err(failure) => {
                let longest = FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(channel.poll);
                wait = at_random(longest / 2, longest);
                failures += 1;
                warn(format_args!("{failure}; trying again in {} s", wait.as_secs()));
                continue;
            }
        };
        if line != told {
            tell(&line);
            told = line;
        }
    }
}

/// Looks once: gets the channel, decides, and installs if it may now. `taken_back` gets the line
/// about a cancelled trial, even if the rest fails.
fn look(
    device: &Device,
    config: &Config,
    taken_back: &mut Option<String>,
) -> Result<Look, Failure> {
    let interrupt = Interrupt::never();
    let source = Source::of(device, config)?;
    let mut plan = plan(&source, &interrupt)?;
    // This comes before anything that may wait, because the machine can be rebooted at any moment.
    *taken_back = plan.take_back(device)?;
    let line = plan.lines.join("; ");
    match plan.step {
        Step::Nothing => Ok(Look::Nothing(line)),
        Step::Reboot => Ok(Look::Installed(line)),
        Step::Install(..) if is_metered(config) => {
            Ok(Look::Nothing(format!("{line}; the install waits, because the link is metered")))
        }
        Step::Install(release, deltas) => match seconds_to_window(config) {
            0 => install(&source, &release, &deltas, &interrupt).map(Look::Installed),
            seconds => {
                Ok(Look::Later(format!("{line}; the install waits for the window"), seconds))
            }
        },
    }
}

fn seconds_to_window(config: &Config) -> u64 {
    config.channel.window.map_or(0, |window| window.wait_s(now_s()))
}

/// Returns a time in the first half of the window, at random, because a fleet has one window.
fn until_the_window(config: &Config, seconds: u64) -> Duration {
    if seconds > LONGEST_WAIT_S {
        return Duration::from_secs(LONGEST_WAIT_S);
    }
    let half = config.channel.window.map_or(0, |window| window.length_s() / 2);
    let spread = Duration::from_secs(half).min(config.channel.jitter);
    Duration::from_secs(seconds) + at_random(Duration::ZERO, spread)
}

/// Returns true if the link is metered. A command that cannot be run counts as metered: that costs
/// time and no money.
fn is_metered(config: &Config) -> bool {
    let [program, arguments @ ..] = config.channel.metered_command.as_slice() else { return false };
    let status =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            warn(format_args!(
                "running metered-command {program}: {error}; the link counts as metered"
            ));
            true
        }
    }
}

/// Returns a random time between `from` and `to`. The standard library's hasher has a random key;
/// that is random enough here.
fn at_random(from: Duration, to: Duration) -> Duration {
    let part = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    from + to.saturating_sub(from).mul_f64(part)
}
