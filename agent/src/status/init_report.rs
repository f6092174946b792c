//! Reads the report of daruma-init: boots that it gave up, and warnings of this boot.
//!
//! `daemon::arrival` moves the failures into the state, and `gather` shows the warnings. A failure
//! is a line `slot=B version=4.0.0 reason=...` of a file on /var.

use std::fs;
use std::path::Path;

use image_layout::Slot;
use semver::Version;

use crate::device::Device;
use crate::status::state::{Kind, State};

const FAILURES: &str = "/var/lib/daruma/init-failures";
const WARNINGS: &str = "/run/daruma/init.log";
/// Most bytes read of either file. They come from a part of the system that may have been in
/// trouble.
const BYTES_READ: usize = 16 << 10;

/// One boot that daruma-init gave up.
#[derive(Clone, PartialEq, Eq, Debug)]
struct InitFailure {
    slot: Slot,
    version: Option<Version>,
    reason: String,
}

impl InitFailure {
    fn parse(line: &str) -> Option<Self> {
        let (head, reason) = line.split_once("reason=").unwrap_or((line, "no reason given"));
        let value =
            |key: &str| head.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
        Some(Self {
            slot: value("slot=")?.parse().ok()?,
            version: value("version=").and_then(|text| text.parse().ok()),
            reason: reason.trim().trim_matches('"').chars().filter(|c| !c.is_control()).collect(),
        })
    }
}

/// Adds the failures in daruma-init's file to the state. Call [`forget_failures`] when the state is
/// stored. Returns whether there were any.
pub(crate) fn take_failures(device: &Device, state: &mut State) -> bool {
    let text = read(&device.path(FAILURES));
    for failure in text.lines().filter_map(InitFailure::parse) {
        state.record(Kind::InitFailed, failure.slot, failure.version.as_ref(), failure.reason);
    }
    !text.is_empty()
}

/// Removes daruma-init's file, because its lines are in the state now.
pub(crate) fn forget_failures(device: &Device) {
    // If the file stays, its lines are reported twice, and nothing worse.
    let _ = fs::remove_file(device.path(FAILURES));
}

/// Returns the warnings of this boot.
pub(crate) fn warnings(device: &Device) -> Vec<String> {
    let text = read(&device.path(WARNINGS));
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(BYTES_READ)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_daruma_init_is_understood() {
        let failure =
            InitFailure::parse("slot=B version=3.0.0 reason=root image is corrupt: slot=A")
                .unwrap();
        assert_eq!(failure.slot, Slot::B);
        assert_eq!(failure.version, Some(Version::new(3, 0, 0)));
        assert_eq!(failure.reason, "root image is corrupt: slot=A");
    }

    #[test]
    fn half_a_line_still_says_which_slot() {
        let failure = InitFailure::parse("slot=A").unwrap();
        assert_eq!((failure.slot, failure.version), (Slot::A, None));
        assert_eq!(InitFailure::parse("garbage"), None);
    }
}
