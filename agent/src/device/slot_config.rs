//! Parses `slot.cfg`, the file of a boot image that says what the slot holds.
//!
//! The bundler writes the file, GRUB sources it, and `bundle` reads files from a boot image. The
//! file has only `set` lines.

use std::path::Path;

use bundle::{BuildId, Compatible};
use image_layout::Disk;
use semver::Version;

use crate::exit::one_line;

/// The name of the file in a boot image.
const FILE: &str = "slot.cfg";

/// The variables that the agent wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotConfig {
    /// The kind of device that the system is for. A bundle must name the same.
    pub compatible: String,
    /// The system's version.
    pub version: Version,
    /// The build id.
    pub build: String,
    /// No version below this one may follow it (the anti-rollback floor).
    pub min_version: Version,
}

impl SlotConfig {
    /// Reads `slot.cfg` of the boot image on the partition `path`, open as `disk`. The error is the
    /// cause, for one line.
    pub(crate) fn read(disk: &impl Disk, path: &Path) -> Result<Self, String> {
        let bytes = bundle::StoredSquashfs::read_file(disk, FILE)
            .map_err(|error| format!("{} of {}: {error}", FILE, path.display()))?;
        Self::parse(&String::from_utf8_lossy(&bytes))
            .map_err(|error| format!("{FILE} of {}: {error}", path.display()))
    }

    /// Parses the text of `slot.cfg`.
    ///
    /// # Errors
    /// Says which variable is missing or is not a version.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| {
                    line.trim()
                        .strip_prefix("set ")?
                        .trim_start()
                        .strip_prefix(name)?
                        .strip_prefix('=')
                })
                .next_back()
                .map(str::trim)
                .map(|value| {
                    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
                })
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("{name} is missing"))
        };
        let version = |name: &str| {
            let parsed = value(name)?.parse::<Version>();
            parsed.map_err(|error| one_line(&format!("{name} is not a version: {error}")))
        };
        let compatible: Compatible = value("daruma_compatible")?
            .parse()
            .map_err(|error| format!("daruma_compatible: {error}"))?;
        // The build id is only shown to people. A wrong one is not worth a refusal.
        let build = value("daruma_build").ok().and_then(|build| build.parse::<BuildId>().ok());
        Ok(Self {
            compatible: compatible.as_str().to_owned(),
            version: version("daruma_version")?,
            build: build.map_or_else(String::new, |build| build.as_str().to_owned()),
            // A missing floor allows every version.
            min_version: if value("daruma_min_version").is_ok() {
                version("daruma_min_version")?
            } else {
                Version::new(0, 0, 0)
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "set daruma_compatible=router\nset daruma_version=1.2.3\nset \
        daruma_build=b7\n\
                        set daruma_min_version=1.0.0\nset daruma_args=\"quiet console=ttyS0\"\n";

    #[test]
    fn the_variables_are_read() {
        let config = SlotConfig::parse(TEXT).unwrap();
        assert_eq!((config.compatible.as_str(), config.build.as_str()), ("router", "b7"));
        assert_eq!(
            (config.version, config.min_version),
            (Version::new(1, 2, 3), Version::new(1, 0, 0))
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            SlotConfig::parse("set daruma_version=1.0.0\n").unwrap_err(),
            "daruma_compatible is missing"
        );
        let error = SlotConfig::parse(&TEXT.replace("1.2.3", "one")).unwrap_err();
        assert!(error.starts_with("daruma_version is not a version"), "{error}");
        let error =
            SlotConfig::parse(&TEXT.replace("=router", "=\"\"\"\u{c}router\"")).unwrap_err();
        assert!(error.starts_with("daruma_compatible: "), "{error}");
    }
}
