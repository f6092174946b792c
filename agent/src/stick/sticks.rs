//! Finds the plugged-in sticks, mounts them, installs from them and writes the results.
//!
//! `volume/` finds and mounts one stick, and `choice` takes the best bundle. Each stick is looked
//! at once, until a person pulls it out and plugs it in again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image_layout::Slot;

use crate::config::Config;
use crate::console::{say, warn};
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::stick::choice::{Outcome, Purpose, install_best, judge};
use crate::stick::led::{Led, Pattern};
use crate::stick::offer::{Offer, best};
use crate::stick::provision;
use crate::stick::result::{device_text, result_text};
use crate::stick::volume::mount::{RESULT, Stick};
use crate::stick::volume::scan::{Volume, scan};
use crate::stick::volume::uevents::Uevents;

/// Nothing new may come for this long. Sticks that a person plugs in together come one after the
/// other.
const SETTLE: Duration = Duration::from_secs(2);
/// How often the wait shows a sign of life.
const TICK: Duration = Duration::from_secs(1);

/// How often a volume is looked at that cannot be used.
const LOOKS: u8 = 3;
/// Time from the announcement of a stick until its partitions are there, at most.
const COMING: Duration = Duration::from_secs(10);
/// A device that comes and goes for ever holds up the end of recovery for at most this long.
const LONGEST: Duration = Duration::from_secs(60);
/// How long the running system sleeps when the kernel announces nothing.
const IDLE: Duration = Duration::from_secs(3600);

/// The sticks that are plugged in.
#[derive(Debug)]
pub(crate) struct Sticks<'a> {
    device: &'a Device,
    config: &'a Config,
    uevents: Uevents,
    folder: PathBuf,
    mounted: Vec<Stick>,
    /// Every volume that was looked at, so that it is looked at once.
    seen: Vec<Volume>,
    unready: Unready,
    pub(crate) led: Led,
    /// What was done with the credentials on the mounted sticks, one line each
    credentials: Vec<String>,
}

impl<'a> Sticks<'a> {
    /// Starts to listen for sticks.
    pub(crate) fn listen(device: &'a Device, config: &'a Config) -> Result<Self, Failure> {
        let uevents = Uevents::open().map_err(|error| {
            Failure::new(
                Exit::Unexpected,
                format!("listening to the kernel for USB sticks: {error}"),
            )
        })?;
        let led = Led::of(config.recovery.led.as_deref());
        let folder = device.path("/run/daruma/stick");
        Ok(Self {
            device,
            config,
            uevents,
            folder,
            mounted: Vec::new(),
            seen: Vec::new(),
            unready: Unready::default(),
            led,
            credentials: Vec::new(),
        })
    }

    /// Waits until a stick with a file system has come, or until `deadline`. Calls `tick` every
    /// second while there is a deadline. False: no stick came.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>, tick: &dyn Fn()) -> bool {
        let mut came: Option<Instant> = None;
        let mut announced: Option<Instant> = None;
        loop {
            tick();
            if self.look() {
                came = Some(Instant::now());
            }
            if self.mounted.is_empty() {
                came = None;
            }
            if came.is_some_and(|came| came.elapsed() >= SETTLE) {
                return true;
            }
            let coming = announced.is_some_and(|announced| announced.elapsed() < COMING);
            let is_over = |deadline: Instant| {
                let now = Instant::now();
                now >= deadline && (!coming || now >= deadline + LONGEST)
            };
            if came.is_none() && deadline.is_some_and(is_over) {
                return false;
            }
            let is_idle = came.is_none() && deadline.is_none() && self.unready.0.is_empty();
            if self.uevents.wait(if is_idle { IDLE } else { TICK }) {
                announced = Some(Instant::now());
            }
        }
    }

    /// Forgets sticks that are gone and mounts new ones. True: there is a new stick.
    fn look(&mut self) -> bool {
        let there = scan(Path::new("/sys"), self.device);
        self.seen.retain(|volume| there.contains(volume));
        self.unready.forget_all_but(&there);
        let before = self.mounted.len();
        self.mounted.retain(|stick| there.contains(&stick.volume));
        if self.mounted.len() < before {
            say("THE STICK WAS PULLED OUT; nothing was done with it");
        }
        let mut is_new = false;
        for volume in there {
            if self.seen.contains(&volume) {
                continue;
            }
            match Stick::mount(&volume, &self.folder) {
                Ok(Some(stick)) => {
                    say(format_args!("a stick is plugged in: {} ({})", volume.name, stick.kind()));
                    self.mounted.push(stick);
                    is_new = true;
                }
                Ok(None) | Err(_) if self.unready.is_looked_at_again(&volume) => continue,
                Ok(None) => say(format_args!(
                    "{}: the volume holds no FAT, exFAT or ext4; the volume is left alone",
                    volume.name
                )),
                Err(error) => warn(format_args!(
                    "mounting {}: {error}; format the stick anew, or use another one",
                    volume.name
                )),
            }
            self.seen.push(volume);
        }
        is_new
    }

    /// Returns true if one of the mounted sticks has gone. Asked after a failure: reads fail a
    /// moment before the kernel lets go of the device.
    fn is_one_gone(&self) -> bool {
        let asked = Instant::now();
        loop {
            let there = scan(Path::new("/sys"), self.device);
            if self.mounted.iter().any(|stick| !there.contains(&stick.volume)) {
                return true;
            }
            if asked.elapsed() >= SETTLE {
                return false;
            }
            self.uevents.wait(Duration::from_millis(100));
        }
    }

    /// Installs the best bundle of all sticks, and writes the result on each stick.
    pub(crate) fn install(
        &mut self,
        purpose: &Purpose,
        interrupt: &Interrupt,
    ) -> Result<Outcome, Failure> {
        let mut offers = Vec::new();
        for stick in &self.mounted {
            let bundles = stick.bundles().unwrap_or_else(|error| {
                warn(format_args!("reading {}: {error}", stick.volume.name));
                Vec::new()
            });
            if bundles.is_empty() {
                say(format_args!("{}: the root folder holds no *.daruma", stick.volume.name));
            }
            offers.extend(judge(self.device, self.config, &bundles, purpose));
        }
        if best(&offers).is_some() {
            self.led.show(Pattern::Installing);
        }
        let outcome =
            install_best(self.device, self.config, &mut offers, purpose, interrupt, &|| {
                self.is_one_gone()
            });
        if self.is_one_gone() && !matches!(outcome, Ok(Outcome::Installed(_))) {
            return Ok(Outcome::Pulled);
        }
        self.write_results(&offers, &outcome, purpose.target);
        outcome
    }

    /// Takes the credentials of all sticks, if it may. Returns how many are new. If there is no
    /// bundle to install, `write_credentials_result` tells the person.
    pub(crate) fn provision(&mut self) -> usize {
        self.credentials.clear();
        let mut changed = 0;
        for stick in &self.mounted {
            let folder = stick.folder().join(provision::FOLDER);
            if !folder.is_dir() || !provision::is_open(self.device, self.config.usb.provision) {
                continue;
            }
            self.led.show(Pattern::Installing);
            match provision::take(self.device, &folder, &mut self.credentials) {
                Ok(taken) => changed += taken,
                Err(failure) => self.credentials.push(failure.message),
            }
        }
        self.credentials.iter().for_each(say);
        changed
    }

    /// Writes on each stick what was done with credentials, if anything was.
    pub(crate) fn write_credentials_result(&self) {
        if !self.credentials.is_empty() {
            self.write_text(&device_text(self.device, &self.credentials));
        }
    }

    fn write_results(&self, offers: &[Offer], outcome: &Result<Outcome, Failure>, target: Slot) {
        self.write_text(&result_text(self.device, &self.credentials, offers, outcome, target));
    }

    fn write_text(&self, text: &str) {
        for stick in &self.mounted {
            if let Err(error) = stick.write_result(text) {
                warn(format_args!("writing {RESULT} to {}: {error}", stick.volume.name));
            }
        }
    }

    /// Unmounts all sticks. They are left alone until they are plugged in again.
    pub(crate) fn release(&mut self) {
        self.mounted.clear();
    }

    /// Unmounts all sticks and forgets them, to start over with those that are still there.
    pub(crate) fn start_over(&mut self) {
        self.mounted.clear();
        self.seen.clear();
    }
}

/// Volumes that could not be used so far, and how often each was looked at. A disk is in sysfs a
/// moment before it can be opened (ENXIO), and a moment before its partitions.
#[derive(Debug, Default)]
struct Unready(BTreeMap<Volume, u8>);

impl Unready {
    /// Counts a look in vain. Returns true if the volume gets one more.
    fn is_looked_at_again(&mut self, volume: &Volume) -> bool {
        let looks = self.0.entry(volume.clone()).or_default();
        *looks += 1;
        *looks < LOOKS
    }

    /// Forgets volumes that are gone, and those that had their last look.
    fn forget_all_but(&mut self, there: &[Volume]) {
        self.0.retain(|volume, looks| there.contains(volume) && *looks < LOOKS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_is_not_ready_is_looked_at_three_times_and_again_when_it_comes_back() {
        let [first, back] = [1, 2].map(|sequence| Volume { name: "sdb".to_owned(), sequence });
        let mut unready = Unready::default();
        assert!(unready.is_looked_at_again(&first));
        unready.forget_all_but(std::slice::from_ref(&first));
        assert!(unready.is_looked_at_again(&first));
        assert!(!unready.is_looked_at_again(&first));
        unready.forget_all_but(std::slice::from_ref(&back));
        assert!(unready.0.is_empty());
        assert!(unready.is_looked_at_again(&back));
    }
}
