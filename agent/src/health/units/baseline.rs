//! The baseline: the units that worked in the last system that was found healthy and committed.
//!
//! `keeper` writes it, and `watch` and `report` read it. The file lies on /var, which both slots
//! share. A baseline that is lost or damaged is none: then the recipe's `health-units` count.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::config::{self, UnitPattern};
use crate::device::Device;
use crate::device::disk::durable;
use crate::exit::one_line;

/// The file of the baseline.
const FILE: &str = "/var/lib/daruma/units.json";
/// The units that the recipe names, one a line. The bundler writes the file.
const RECIPE_FILE: &str = "/usr/lib/daruma/health-units";
/// The version of the file's form.
const FORMAT: u32 = 1;

/// The content of the file. Unknown fields are ignored: after a fall-back an older agent reads what
/// a newer one wrote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Baseline {
    format: u32,
    /// The version of the system in which the units worked.
    pub(super) version: Version,
    pub(super) units: BTreeSet<String>,
}

impl Baseline {
    pub(super) fn new(version: Version, units: BTreeSet<String>) -> Self {
        Self { format: FORMAT, version, units }
    }

    /// Parses the text of the file.
    ///
    /// # Errors
    /// The end of a sentence: the text is no baseline of this format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let baseline: Self =
            serde_json::from_str(text).map_err(|error| one_line(&error.to_string()))?;
        if baseline.format != FORMAT {
            return Err(format!("format {} is not {FORMAT}", baseline.format));
        }
        Ok(baseline)
    }

    /// Returns the baseline of the device. `None`: there is none. The error is one line: the file
    /// exists and cannot be used.
    pub(super) fn load(device: &Device) -> Result<Option<Self>, String> {
        let path = device.path(FILE);
        let found = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error.to_string()),
            Ok(text) => Self::parse(&text),
        };
        found.map(Some).map_err(|error| {
            format!("reading {}: {error}; going on without a baseline", path.display())
        })
    }

    /// Replaces the file. The error is one line.
    pub(super) fn store(&self, device: &Device) -> Result<(), String> {
        let path = device.path(FILE);
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        text.push(b'\n');
        durable::replace(&path, &text)
            .map_err(|error| format!("writing {}: {error}", path.display()))
    }
}

/// The units that must work, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Expected {
    pub(super) units: BTreeSet<String>,
    /// The version in which they worked. `None`: the recipe names them.
    pub(super) version: Option<String>,
}

impl Expected {
    /// Returns the units of the baseline. Without one, returns those that the recipe names.
    /// `complaint` gets a line if the baseline cannot be used.
    pub(super) fn of(
        device: &Device,
        config: &config::Health,
        complaint: &mut Option<String>,
    ) -> Self {
        let mut expected = match Baseline::load(device) {
            Ok(Some(Baseline { units, version, .. })) => {
                Self { units, version: Some(version.to_string()) }
            }
            Ok(None) => Self::of_recipe(device),
            Err(line) => {
                *complaint = Some(line);
                Self::of_recipe(device)
            }
        };
        expected.units.retain(|name| !is_ignored(name, &config.ignore_units));
        expected
    }

    fn of_recipe(device: &Device) -> Self {
        let text = fs::read_to_string(device.path(RECIPE_FILE)).unwrap_or_default();
        let units = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self { units: units.map(str::to_owned).collect(), version: None }
    }

    /// Returns the sentence about a unit whose standing ends with `why`.
    pub(super) fn sentence(&self, name: &str, why: &str) -> String {
        match &self.version {
            Some(version) => format!("unit {name} was active in {version} and {why}"),
            None => format!("unit {name} is one of the recipe's health-units and {why}"),
        }
    }
}

/// Returns true if a pattern of `ignore-units` names the unit.
pub(super) fn is_ignored(name: &str, patterns: &[UnitPattern]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_baseline_is_none() {
        for (text, part) in [
            ("", "EOF"),
            ("{\"format\": 1, \"version\": \"1.0.0\", \"uni", "EOF"),
            ("[]", "invalid length"),
            ("{\"format\": 1, \"version\": \"\\u001b\", \"units\": []}", "version"),
            ("{\"format\": 2, \"version\": \"1.0.0\", \"units\": []}", "format 2 is not 1"),
        ] {
            let error = Baseline::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_newer_agents_fields_are_passed_over() {
        let text = "{\"format\": 1, \"version\": \"1.0.0\", \"units\": [\"a.service\"], \"x\": 1}";
        let units = BTreeSet::from(["a.service".to_owned()]);
        assert_eq!(Baseline::parse(text), Ok(Baseline::new(Version::new(1, 0, 0), units)));
    }
}
