//! Counts the reports of devices in a server's log.
//!
//! `rule` decides what follows. Any log format will do, because this file looks only for the
//! report.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use bundle::channel::{Outcome, Report};
use bundle::{ChannelName, Sha256};

use crate::fleet::share::Share;

/// Most bytes that are read of a line. The rest of a longer line is skipped.
const LINE: u64 = 16 << 10;
/// Most releases that are counted. Anybody can write into a log by sending a request.
const RELEASES: usize = 10_000;

/// How one release ended, on how many devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Results {
    /// Devices that committed the release.
    pub committed: u64,
    /// Devices that fell back.
    pub fell_back: u64,
}

impl Results {
    /// Returns the number of devices that have reported.
    #[must_use]
    pub fn total(self) -> u64 {
        self.committed + self.fell_back
    }

    /// Returns the share of devices that fell back.
    #[must_use]
    pub fn failed(self) -> Share {
        Share::of(self.fell_back, self.total())
    }
}

/// The results of each release, from the lines of a log.
#[derive(Debug)]
pub struct Tally {
    /// The channel's file, as it stands in a request.
    file: String,
    of: HashMap<[u8; 8], Results>,
}

impl Tally {
    /// Counts devices that ask for the channel `name`.
    #[must_use]
    pub fn new(name: &ChannelName) -> Self {
        Self { file: format!("/{name}.channel.json"), of: HashMap::new() }
    }

    /// Returns the results of a release.
    #[must_use]
    pub fn results(&self, manifest: Sha256) -> Results {
        self.of.get(&Report::new(manifest, Outcome::Committed).release).copied().unwrap_or_default()
    }

    /// Counts one line, if it has a report. The request must be for the channel. Its answer must be
    /// the channel (200) or "unchanged" (304): a device repeats a report after any other answer.
    pub fn line(&mut self, line: &[u8]) {
        let Some(report) = Report::find(line) else { return };
        let asks = line.windows(self.file.len()).any(|window| window == self.file.as_bytes());
        if !asks || !was_answered(line) {
            return;
        }
        if self.of.len() >= RELEASES && !self.of.contains_key(&report.release) {
            return;
        }
        let results = self.of.entry(report.release).or_default();
        match report.outcome {
            Outcome::Committed => results.committed += 1,
            Outcome::FellBack => results.fell_back += 1,
        }
    }

    /// Counts all lines of a log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn read(&mut self, mut log: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if log.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.line(&line);
            // The rest of an endless line is skipped.
            while line.last() != Some(&b'\n') {
                line.clear();
                if log.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// Looks at the status behind the quoted request, where the common and the combined log format have
/// it. A line in another format counts as answered.
fn was_answered(line: &[u8]) -> bool {
    let status = line.windows(6).find_map(|window| match window {
        [b'"', b' ', status @ .., b' '] if status.iter().all(u8::is_ascii_digit) => Some(status),
        _ => None,
    });
    status.is_none_or(|status| status == b"200" || status == b"304")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(log: &str) -> Results {
        let mut tally = Tally::new(&"stable".parse().unwrap());
        tally.read(log.as_bytes()).unwrap();
        tally.results(Sha256::of(b"test"))
    }

    fn line(file: &str, status: u16, result: &str) -> String {
        format!(
            "192.0.2.7 - - [21/Nov/2026:09:00:00 +0000] \"GET /d/{file} HTTP/1.1\" {status} 0 \
                \"-\" \"daruma/0.1.0 {result}\"\n"
        )
    }

    const FELL_BACK: &str = "daruma-result/fell-back-9f86d081884c7d65";
    const COMMITTED: &str = "daruma-result/committed-9f86d081884c7d65";

    #[test]
    fn each_answered_request_for_the_channel_with_a_report_counts_once() {
        let log = [
            line("stable.channel.json", 304, FELL_BACK),
            line("stable.channel.json", 200, COMMITTED),
            line("stable.channel.json", 304, COMMITTED),
            line("stable.channel.json", 304, ""),
            line("stable.channel.json", 304, "daruma-result/fell-back-0000000000000000"),
            line("stable.channel.json", 503, FELL_BACK),
            line("stable.channel.json", 404, FELL_BACK),
            line("beta.channel.json", 304, FELL_BACK),
            line("bundles/router-2.0.0.daruma", 200, FELL_BACK),
        ];
        assert_eq!(tally(&log.concat()), Results { committed: 2, fell_back: 1 });
    }

    #[test]
    fn a_line_without_end_neither_fills_the_memory_nor_hides_the_next() {
        let log =
            "x".repeat(100_000) + FELL_BACK + "\n" + &line("stable.channel.json", 200, COMMITTED);
        assert_eq!(tally(&log), Results { committed: 1, fell_back: 0 });
    }

    proptest! {
        #[test]
        fn no_log_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut tally = Tally::new(&"stable".parse().unwrap());
            tally.read(&bytes[..]).unwrap();
            let report = [&bytes[..], FELL_BACK.as_bytes(), b" /stable.channel.json"].concat();
            tally.read(&report[..]).unwrap();
        }
    }
}
