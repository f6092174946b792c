//! The report of a device about a release that it tried.
//!
//! The agent sends the report, and the bundler counts it. A report is a part of the `User-Agent` of
//! a request, so a plain web server writes it into its log.

use std::fmt;

use crate::Sha256;
use crate::value::digest::{from_hex, to_hex};

/// What became of a release on a device. The device sends the report with its requests for the
/// channel until one is answered. Nothing in the report tells one device from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The first bytes of the release's manifest hash.
    pub release: [u8; 8],
    /// What became of the release.
    pub outcome: Outcome,
}

/// What becomes of a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The release was healthy, and the device committed it.
    Committed,
    /// The release failed, and the device runs what it ran before.
    FellBack,
}

impl Outcome {
    const ALL: [Self; 2] = [Self::Committed, Self::FellBack];

    fn word(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::FellBack => "fell-back",
        }
    }
}

/// Stands in front of a report, so that a search finds the report in a line.
const MARK: &str = "daruma-result/";

impl Report {
    /// Returns a report on the release with this manifest.
    #[must_use]
    pub fn new(manifest: Sha256, outcome: Outcome) -> Self {
        Self { release: short(manifest), outcome }
    }

    /// Returns true if the report is on the release with this manifest.
    #[must_use]
    pub fn is_of(&self, manifest: Sha256) -> bool {
        self.release == short(manifest)
    }

    /// Returns the first report in a line of a log, whatever stands around it.
    #[must_use]
    pub fn find(line: &[u8]) -> Option<Self> {
        let at = line.windows(MARK.len()).position(|window| window == MARK.as_bytes())?;
        let rest = &line[at + MARK.len()..];
        let starts = |outcome: &Outcome| rest.starts_with(outcome.word().as_bytes());
        let outcome = Outcome::ALL.into_iter().find(starts)?;
        let hash = rest[outcome.word().len()..].strip_prefix(b"-")?.get(..16)?;
        Some(Self { release: from_hex(std::str::from_utf8(hash).ok()?).ok()?, outcome })
    }
}

/// Writes the report as a product of a `User-Agent`: `daruma-result/fell-back-9f86d081884c7d65`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{}-{}", self.outcome.word(), to_hex(&self.release))
    }
}

fn short(manifest: Sha256) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&manifest.0[..8]);
    first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_is_found_in_the_log_lines_of_known_servers() {
        let manifest = Sha256::of(b"test");
        let report = Report::new(manifest, Outcome::FellBack);
        assert_eq!(report.to_string(), "daruma-result/fell-back-9f86d081884c7d65");
        assert!(report.is_of(manifest) && !report.is_of(Sha256::of(b"other")));
        for line in [
            // nginx and Apache, "combined"
            concat!(
                r#"192.0.2.7 - - [21/Nov/2026:09:00:00 +0000] "#,
                r#""GET /stable.channel.json HTTP/1.1" "#,
                r#"304 0 "-" "daruma/0.1.0 daruma-result/fell-back-9f86d081884c7d65""#,
            ),
            // Caddy, JSON
            concat!(
                r#"{"request":{"uri":"/stable.channel.json","headers":{"User-Agent":["#,
                r#""daruma/0.1.0 daruma-result/fell-back-9f86d081884c7d65"]}},"status":304}"#,
            ),
            // CloudFront
            concat!(
                "2026-11-21\t09:00:00\tFRA2\t0\t192.0.2.7\tGET\td1.cloudfront.net\t",
                "/stable.channel.json\t304\t-\t",
                "daruma/0.1.0%20daruma-result/fell-back-9f86d081884c7d65\t-",
            ),
        ] {
            assert_eq!(Report::find(line.as_bytes()), Some(report), "{line}");
        }
        for line in [
            "",
            "daruma/0.1.0",
            "daruma-result/",
            "daruma-result/fell-back",
            "daruma-result/fell-back-9f86d081884c7d6",
            "daruma-result/fell-back-9f86d081884c7d6g",
            "daruma-result/exploded-9f86d081884c7d65",
        ] {
            assert_eq!(Report::find(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn every_report_is_found_as_it_was_written(
            hash: [u8; 32],
            fell: bool,
            before in "\\PC{0,40}",
        ) {
            prop_assume!(!before.contains(MARK));
            let outcome = if fell { Outcome::FellBack } else { Outcome::Committed };
            let report = Report::new(Sha256(hash), outcome);
            prop_assert_eq!(Report::find(format!("{before}{report}\"").as_bytes()), Some(report));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Report::find(&bytes);
            let _ = Report::find(&[MARK.as_bytes(), &bytes].concat());
        }
    }
}
