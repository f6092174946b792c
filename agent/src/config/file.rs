//! `/etc/daruma/daruma.toml` as a whole.
//!
//! `sections`, `channel` and `pull` define the sections. An unknown key is refused: the error names
//! the line and the most similar known key.

use std::io;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::Deserialize;

use crate::config::channel::Channel;
use crate::config::numbers::at_least_one;
use crate::config::pull::Pull;
use crate::config::sections::{Health, Recovery, Usb, Watchdog};
use crate::device::Device;
use crate::exit::{Exit, Failure, one_line};

/// Path of the configuration on the device.
pub const FILE: &str = "/etc/daruma/daruma.toml";
/// The default file, which documents every key. A device gets it as `/etc/daruma/daruma.toml`.
pub const DEFAULT_FILE: &str = include_str!("../../dist/daruma.toml");

/// The whole configuration. A missing file means all defaults.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Folder of the public keys (`*.pem`) that may sign bundles.
    pub keyring: PathBuf,
    /// How many different keys of the keyring must sign a bundle.
    #[serde(deserialize_with = "at_least_one")]
    pub keyring_threshold: u32,
    /// Bundles below this version are refused. The running system has a floor too; the higher of
    /// the two counts.
    pub min_version: Version,
    /// The command that reboots. Empty: `systemctl reboot` under systemd, otherwise the system
    /// call.
    pub reboot_command: Vec<String>,
    /// Section `[health]`.
    pub health: Health,
    /// Section `[watchdog]`.
    pub watchdog: Watchdog,
    /// Section `[usb]`.
    pub usb: Usb,
    /// Section `[recovery]`.
    pub recovery: Recovery,
    /// Section `[channel]`.
    pub channel: Channel,
    /// Section `[pull]`.
    pub pull: Pull,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keyring: PathBuf::from("/etc/daruma/keyring"),
            keyring_threshold: 1,
            min_version: Version::new(0, 0, 0),
            reboot_command: Vec::new(),
            health: Health::default(),
            watchdog: Watchdog::default(),
            usb: Usb::default(),
            recovery: Recovery::default(),
            channel: Channel::default(),
            pull: Pull::default(),
        }
    }
}

impl Config {
    /// Parses the text of a configuration file. The error is one line with the line number.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                let before = text.as_bytes().get(..span.start).unwrap_or_default();
                before.iter().filter(|byte| **byte == b'\n').count() + 1
            });
            let message = one_line(error.message());
            match did_you_mean(&message) {
                Some(key) => format!("line {line}: {message}; did you mean `{key}`?"),
                None => format!("line {line}: {message}"),
            }
        })
    }

    /// Returns the configuration of the daemon when the file cannot be used: the defaults. Without
    /// systemd the daemon must also feed the hardware watchdog that daruma-init armed. Otherwise
    /// one typing error would cause one reset after the other.
    #[must_use]
    pub fn makeshift(device: &Device) -> Self {
        let mut config = Self::default();
        let hardware = Path::new("/dev/watchdog");
        let systemd = device.path("/run/systemd/system").is_dir();
        if !systemd && device.path(hardware).exists() {
            config.watchdog.device = Some(hardware.to_owned());
        }
        config
    }

    /// Loads `path`. A file that does not exist gives the defaults.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Failure::new(
                    Exit::Config,
                    format!("reading the configuration {}: {error}", path.display()),
                ));
            }
        };
        Self::parse(&text).map_err(|error| {
            Failure::new(
                Exit::Config,
                format!("reading the configuration {}: {error}", path.display()),
            )
        })
    }
}

/// Returns the known key that is most like the unknown one. `message` is serde's: "unknown field
/// `x`, expected one of ...".
fn did_you_mean(message: &str) -> Option<String> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    names
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

/// Returns the line about a configuration that cannot be used, for the daemon and for `daruma
/// status`.
pub(crate) fn makeshift_line(failure: &Failure) -> String {
    format!(
        "{failure}; the daemon works with the defaults until a person corrects the file and \
            restarts the daemon"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_says_what_the_program_does_by_itself() {
        assert_eq!(Config::parse(DEFAULT_FILE).unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_in_the_default_file_and_in_the_book() {
        let book = include_str!("../../../docs/operating.md");
        for key in KEYS {
            assert!(
                DEFAULT_FILE.contains(&format!("{} =", key.1)),
                "{} is not in the default file",
                key.1
            );
            assert!(
                book.contains(&format!("`{}`", key.1)),
                "{} is not in docs/operating.md",
                key.1
            );
        }
    }

    /// section, key, a good value other than the default, a bad value
    const KEYS: [(&str, &str, &str, &str); 38] = [
        ("", "keyring", "\"/keys\"", "7"),
        ("", "keyring-threshold", "2", "0"),
        ("", "min-version", "\"1.2.3\"", "\"1.2\""),
        ("", "reboot-command", "[\"reboot\"]", "\"reboot\""),
        ("health", "deadline-s", "10", "0"),
        ("health", "check-timeout-s", "3", "-1"),
        ("health", "retry-s", "1", "86401"),
        ("health", "units-active", "[\"ssh.service\"]", "true"),
        ("health", "default-route", "true", "\"yes\""),
        ("health", "dns", "[\"www.example.org\"]", "\"www.example.org\""),
        ("health", "process", "[\"dnsmasq\"]", "[1]"),
        ("health", "baseline", "\"off\"", "\"on\""),
        ("health", "ignore-units", "[\"a.service\", \"b@*.service\"]", "[\"ssh\"]"),
        ("watchdog", "device", "\"/dev/watchdog\"", "false"),
        ("watchdog", "timeout-s", "20", "\"20\""),
        ("usb", "policy", "\"newer\"", "\"always\""),
        ("usb", "provision", "\"never\"", "\"off\""),
        ("recovery", "led", "\"/sys/class/leds/green:status\"", "1"),
        ("channel", "url", "\"https://updates.example.org/router\"", "\"ftp://example.org\""),
        ("channel", "name", "\"beta\"", "\"../beta\""),
        ("channel", "poll-s", "60", "2678401"),
        ("channel", "jitter-s", "0", "-1"),
        ("channel", "window", "\"02:00-05:00\"", "\"2-5\""),
        ("channel", "reboot", "\"by-hand\"", "\"never\""),
        ("channel", "metered-command", "[\"is-metered\"]", "true"),
        ("channel", "device-id", "\"7\"", "7"),
        ("pull", "proxy", "\"http://proxy.example.org:3128\"", "3128"),
        ("pull", "ca-file", "\"/etc/daruma/ca.pem\"", "true"),
        ("pull", "client-cert", "\"/etc/daruma/device.pem\"", "1"),
        ("pull", "client-key", "\"/etc/daruma/device.key\"", "[]"),
        ("pull", "headers", "{ Authorization = \"Bearer x\" }", "{ Range = \"bytes=0-\" }"),
        ("pull", "connect-timeout-s", "3", "0"),
        ("pull", "low-speed-bytes-per-s", "0", "-1"),
        ("pull", "low-speed-s", "3", "0"),
        ("pull", "tries", "3", "0"),
        ("pull", "rate-limit-bytes-per-s", "100000", "\"100k\""),
        ("pull", "byte-budget", "50000000", "-1"),
        ("pull", "delta-memory-mib", "1024", "31"),
    ];

    #[test]
    fn every_key_takes_a_good_value_and_refuses_a_bad_one() {
        for (section, key, good, bad) in KEYS {
            let file = |value: &str| match section {
                "" => format!("{key} = {value}\n"),
                section => format!("[{section}]\n{key} = {value}\n"),
            };
            assert_ne!(Config::parse(&file(good)).unwrap(), Config::default(), "{key}");
            let error = Config::parse(&file(bad)).unwrap_err();
            assert!(
                error.starts_with(if section.is_empty() { "line 1:" } else { "line 2:" }),
                "{key}: {error}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_likely_one() {
        let error = Config::parse("[health]\n\ndead-line-s = 3\n").unwrap_err();
        assert!(error.starts_with("line 3: unknown field `dead-line-s`"), "{error}");
        assert!(error.ends_with("did you mean `deadline-s`?"), "{error}");
    }
}
