//! Runs the fleet, one event after another.
//!
//! A device decides for itself, and `server` answers it. Time is virtual: it jumps to the next
//! event.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use anyhow::{Context, Result};
use bundle::Sha256;
use bundle::channel::{Facts, Outcome, Release, Report, Verdict, decide};
use semver::Version;

use crate::fleet::random::Random;
use crate::fleet::share::Share;
use crate::fleet::simulate::device::{Device, Phase};
use crate::fleet::simulate::run::{Run, Sample, Stop};
use crate::fleet::simulate::scenario::Scenario;
use crate::fleet::simulate::server::Server;

/// The shares of devices whose times are kept in `Run::reached`.
const MILESTONES: [f64; 3] = [0.5, 0.9, 0.99];

/// The whole state of a simulation.
struct Fleet<'a> {
    scenario: &'a Scenario,
    server: Server,
    devices: Vec<Device>,
    /// The time of each device's next event. Each device has one entry.
    events: BinaryHeap<Reverse<(u64, u32)>>,
    /// The versions that a device can run: first the fleet's old version, then each newer release.
    versions: Vec<(Version, Option<Sha256>)>,
    target: Sha256,
    floor: Version,
    run: Run,
    /// Numbers of devices by the version that they run. Behind these are the number of devices
    /// under way, and the number that fell back.
    counts: Vec<u32>,
}

impl Scenario {
    /// Simulates the scenario.
    ///
    /// # Errors
    /// The channel is invalid.
    pub fn run(&self) -> Result<Run> {
        let offer = &self.offer;
        let mut newer: Vec<&Release> = offer
            .channel
            .releases
            .iter()
            .filter(|r| {
                r.compatible == offer.compatible && r.version.cmp_precedence(&offer.from).is_gt()
            })
            .collect();
        newer.sort_by(|a, b| a.version.cmp_precedence(&b.version));
        let target =
            newer.last().context("no release is newer than what the fleet runs")?.manifest_sha256;
        let known =
            offer.channel.release(&offer.compatible, &offer.from).map(|r| r.manifest_sha256);
        let mut versions = vec![(offer.from.clone(), known)];
        versions.extend(newer.iter().map(|r| (r.version.clone(), Some(r.manifest_sha256))));
        u8::try_from(versions.len() + 2)
            .context("more than 250 releases to go through; give a later --from")?;

        let mut counts = vec![0; versions.len() + 2];
        counts[0] = self.devices;
        let run = Run::new(self, versions.iter().map(|(version, _)| version.clone()).collect());
        let mut fleet = Fleet {
            scenario: self,
            server: Server::new(offer)?,
            devices: (0..self.devices).map(|number| Device::new(self, number)).collect(),
            events: BinaryHeap::with_capacity(self.devices as usize),
            versions,
            target,
            floor: Version::new(0, 0, 0),
            run,
            counts,
        };
        fleet.live()?;
        Ok(fleet.run)
    }
}

impl Fleet<'_> {
    fn live(&mut self) -> Result<()> {
        let end = self.run.end_s;
        for (number, device) in (0_u32..).zip(&mut self.devices) {
            self.events.push(Reverse((device.first_poll_s(self.scenario), number)));
        }
        let watch_s = u64::from(self.scenario.watch_minutes.max(1)) * 60;
        let (mut sample, mut watch) = (0, watch_s);
        while let Some(&Reverse((now, number))) = self.events.peek() {
            // The samples before this event come first.
            let due = now.min(end);
            while watch <= due && self.run.stop.is_none() {
                sample = self.sample_until(sample, watch);
                self.watch(watch)?;
                watch += watch_s;
            }
            sample = self.sample_until(sample, due);
            if now > end {
                break;
            }
            self.events.pop();
            self.step(now, number);
        }
        self.sample_until(sample, end);
        self.run.traffic = self.server.traffic;
        self.run.results = self.server.tally.results(self.target);
        Ok(())
    }

    /// Takes the samples that are due. Returns the time of the next one.
    fn sample_until(&mut self, mut sample: u64, due: u64) -> u64 {
        while sample <= due {
            let (share, results) = (self.let_in(sample), self.server.tally.results(self.target));
            self.run.samples.push(Sample {
                at_s: sample,
                counts: self.counts.clone(),
                share,
                results,
            });
            sample += self.run.sample_s;
        }
        sample
    }

    /// Returns the share of devices that may take the release.
    fn let_in(&self, now: u64) -> Share {
        let offer = &self.scenario.offer;
        match self.server.channel.release(&offer.compatible, &offer.to) {
            None | Some(Release { withdrawn: Some(_), .. }) => Share::of(0, 1),
            Some(Release { rollout: None, .. }) => Share::of(1, 1),
            Some(Release { rollout: Some(rollout), .. }) => {
                Share::from_fraction(rollout.share(offer.start.after(now)) / 100.0)
            }
        }
    }

    fn watch(&mut self, now: u64) -> Result<()> {
        let (Some(rule), offer) = (self.scenario.stop, &self.scenario.offer) else { return Ok(()) };
        if let Some(reason) = self.server.watch(now, rule, &offer.compatible, &offer.to)? {
            self.run.stop = Some(Stop { at_s: now, reason });
        }
        Ok(())
    }

    fn step(&mut self, now: u64, number: u32) {
        let before = self.class(number);
        let next = match self.devices[number as usize].phase {
            Phase::Idle => self.poll(now, number),
            Phase::Fetching(_) if self.scenario.to_window_s(now) > 0 => {
                let spread = self.devices[number as usize].spread_s(self.scenario);
                now + self.scenario.to_window_s(now) + spread
            }
            Phase::Fetching(to) => {
                let is_target = self.versions[usize::from(to)].1 == Some(self.target);
                let device = &mut self.devices[number as usize];
                let failing = if is_target { self.scenario.failing } else { Share::of(0, 1) };
                let (outcome, lasts) = device.trial(failing);
                device.phase = Phase::Trial(to, outcome);
                self.run.tried += u64::from(is_target);
                now + lasts
            }
            Phase::Trial(to, outcome) => {
                let device = &mut self.devices[number as usize];
                match outcome {
                    Outcome::Committed => device.runs = to,
                    Outcome::FellBack => {
                        device.quarantined = true;
                        self.run.failed += 1;
                    }
                }
                device.untold =
                    self.versions[usize::from(to)].1.map(|tried| Report::new(tried, outcome));
                device.phase = Phase::Idle;
                now + device.after_start_s(self.scenario)
            }
        };
        self.events.push(Reverse((next, number)));
        let after = self.class(number);
        self.counts[before] -= 1;
        self.counts[after] += 1;
        let there = self.counts[self.versions.len() - 1];
        for (share, reached) in MILESTONES.iter().zip(&mut self.run.reached) {
            if reached.is_none() && f64::from(there) >= share * f64::from(self.scenario.devices) {
                *reached = Some(now);
            }
        }
    }

    /// Does one poll. Returns the time of the device's next event.
    fn poll(&mut self, now: u64, number: u32) -> u64 {
        let scenario = self.scenario;
        let device = &mut self.devices[number as usize];
        if !device.is_reachable(now, scenario.offline) {
            return now + device.retry_s(scenario);
        }
        let is_changed = self.server.poll(now, device.serial, device.untold.take());
        device.serial = self.server.channel.serial;
        self.server.traffic.roots += u64::from(device.asks_for_root(now, is_changed));
        let (version, manifest) = &self.versions[usize::from(device.runs)];
        let facts = Facts {
            id: &id(scenario.seed, number),
            compatible: &scenario.offer.compatible,
            version,
            manifest: *manifest,
            floor: &self.floor,
            quarantine: if device.quarantined { std::slice::from_ref(&self.target) } else { &[] },
            delta_memory_mib: bundle::delta::limits::MEMORY,
            seen_serial: device.serial,
            now: scenario.offer.start.after(now),
        };
        match decide(&self.server.channel, &self.server.root, &facts).verdict {
            Verdict::Install(..) if scenario.to_window_s(now) > 0 => {
                now + device.window_poll_s(scenario, scenario.to_window_s(now))
            }
            Verdict::Install(release, deltas) => {
                let is_it =
                    |(version, _): &(Version, _)| version.cmp_precedence(&release.version).is_eq();
                // decide() takes only newer releases, and the list has all of them.
                let to = self.versions.iter().position(is_it).unwrap_or_default();
                let traffic = &mut self.server.traffic;
                let bytes = match deltas.first() {
                    Some(delta) => {
                        traffic.deltas += 1;
                        delta.size
                    }
                    None => {
                        traffic.bundles += 1;
                        (release.size as f64 * scenario.fetched.fraction()) as u64
                    }
                };
                traffic.download_bytes += bytes;
                device.phase = Phase::Fetching(to as u8);
                let there = device.fetched_s(now, bytes, scenario.offline);
                self.run.downloads.spread(now, there, bytes);
                there
            }
            Verdict::Nothing => now + device.next_poll_s(scenario),
            Verdict::Refuse(_) => {
                self.run.refused += 1;
                now + device.next_poll_s(scenario)
            }
        }
    }

    fn class(&self, number: u32) -> usize {
        let device = &self.devices[number as usize];
        match device.phase {
            Phase::Idle if device.quarantined => self.versions.len() + 1,
            Phase::Idle => usize::from(device.runs),
            Phase::Fetching(_) | Phase::Trial(..) => self.versions.len(),
        }
    }
}

/// Returns an id of 32 digits, as systemd makes it.
fn id(seed: u64, number: u32) -> String {
    let mut random = Random::new(!seed, u64::from(number));
    format!("{:016x}{:016x}", random.draw(), random.draw())
}
