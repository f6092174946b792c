//! The result of a simulation.
//!
//! `table` and `svg` show it to people. Everything in it follows from the scenario and the seed.

use semver::Version;

use crate::fleet::share::Share;
use crate::fleet::simulate::scenario::Scenario;
use crate::fleet::simulate::server::Traffic;
use crate::fleet::watch::Results;

/// In seconds.
const HOUR: u64 = 3600;
/// Most lines of the table.
const ROWS: u64 = 15;

/// The result of a simulation.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// The versions that a device could run: first the fleet's old version, last the new release.
    pub versions: Vec<Version>,
    /// Simulated time in seconds.
    pub end_s: u64,
    /// Seconds between two lines of the table.
    pub row_s: u64,
    /// Seconds between two samples.
    pub sample_s: u64,
    /// The fleet over time.
    pub samples: Vec<Sample>,
    /// The traffic of the server.
    pub traffic: Traffic,
    /// The bytes of downloads in that traffic, over time.
    pub downloads: Downloads,
    /// The stop, if there was one.
    pub stop: Option<Stop>,
    /// When 50, 90 and 99 % of the devices ran the release, in seconds.
    pub reached: [Option<u64>; 3],
    /// Number of devices that started the release.
    pub tried: u64,
    /// Number of those devices on which the release failed.
    pub failed: u64,
    /// The results of the release in the server's log.
    pub results: Results,
    /// Number of polls that ended with a channel that the device refused.
    pub refused: u64,
}

/// The fleet at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// Seconds from the start.
    pub at_s: u64,
    /// Numbers of devices by the version that they run. Behind these are the number of devices
    /// under way to another version, and the number that fell back.
    pub counts: Vec<u32>,
    /// The share of devices that may take the release.
    pub share: Share,
    /// The results in the server's log.
    pub results: Results,
}

/// The end of a roll-out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stop {
    /// Seconds from the start.
    pub at_s: u64,
    /// The reason that the devices are told.
    pub reason: String,
}

/// Bytes of downloads, by the interval between two samples in which they were sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Downloads {
    every_s: u64,
    bytes: Vec<u64>,
}

impl Run {
    /// Samples for each line of the table. The picture is finer than the table.
    const SAMPLES_A_ROW: u64 = 12;

    pub(crate) fn new(scenario: &Scenario, versions: Vec<Version>) -> Self {
        let hours = u64::from(scenario.days) * 24;
        let fits = |row: &&u64| hours.div_ceil(**row) < ROWS;
        let row_h = [1, 2, 3, 6, 12, 24]
            .iter()
            .find(fits)
            .copied()
            .unwrap_or(hours.div_ceil(ROWS * 24) * 24);
        let (end_s, row_s) = (hours * HOUR, row_h * HOUR);
        let sample_s = row_s / Self::SAMPLES_A_ROW;
        Self {
            versions,
            end_s,
            row_s,
            sample_s,
            samples: Vec::new(),
            traffic: Traffic::default(),
            downloads: Downloads { every_s: sample_s, bytes: vec![0; (end_s / sample_s) as usize] },
            stop: None,
            reached: [None; 3],
            tried: 0,
            failed: 0,
            results: Results::default(),
            refused: 0,
        }
    }
}

impl Downloads {
    /// Adds a download, spread evenly from `from` to `to` (seconds). Bytes after the end are not
    /// counted.
    pub(crate) fn spread(&mut self, from: u64, to: u64, bytes: u64) {
        let lasts = u128::from((to - from).max(1));
        let mut at = from;
        loop {
            let Some(slot) = self.bytes.get_mut((at / self.every_s) as usize) else { return };
            let next = (at / self.every_s + 1) * self.every_s;
            if to <= next {
                *slot += (u128::from(bytes) * u128::from((to - at).max(1)) / lasts) as u64;
                return;
            }
            *slot += (u128::from(bytes) * u128::from(next - at) / lasts) as u64;
            at = next;
        }
    }

    /// Returns the bits a second in the busiest interval.
    #[must_use]
    pub fn peak_bits(&self) -> u64 {
        self.bytes.iter().max().map_or(0, |bytes| bytes * 8 / self.every_s)
    }

    /// Returns the seconds between two samples.
    #[must_use]
    pub fn every_s(&self) -> u64 {
        self.every_s
    }
}
