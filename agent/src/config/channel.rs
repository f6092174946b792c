//! Section `[channel]`: where updates come from, and when the daemon may install them.
//!
//! `channel` and `daemon::poll` act on the values, and `window` has the maintenance window. Without
//! a `url` the device follows no channel.

use std::time::Duration;

use bundle::ChannelName;
use bundle::oci::{Reference, is_oci};
use serde::{Deserialize, Deserializer, de};

use crate::config::window::Window;

/// Section `[channel]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Channel {
    /// The repository: `https://...`, `http://...`, `oci://HOST/NAME`, or a folder (`/...`).
    /// Absent: there is no channel.
    #[serde(deserialize_with = "address")]
    pub url: Option<String>,
    /// Which of the repository's channels.
    #[serde(deserialize_with = "name")]
    pub name: ChannelName,
    /// Seconds between two looks of the daemon. 0: the daemon does not look by itself.
    #[serde(rename = "poll-s", deserialize_with = "up_to_a_month")]
    pub poll: Duration,
    /// Before every look the daemon waits up to this many seconds more, at random. So a fleet does
    /// not come all at once.
    #[serde(rename = "jitter-s", deserialize_with = "up_to_a_month")]
    pub jitter: Duration,
    /// When the daemon may install and reboot. Absent: always.
    pub window: Option<Window>,
    /// Who reboots after the daemon has installed an update.
    pub reboot: Reboot,
    /// Program and arguments. Exit code 0 says that the link is metered, and the daemon does not
    /// download. Empty: the link is never metered.
    pub metered_command: Vec<String>,
    /// If true, the server is told that a release was committed or fell back. Nothing that tells
    /// devices apart is sent.
    pub report: bool,
    /// The device's id, which decides when its turn in a roll-out comes. Absent: `/etc/machine-id`.
    pub device_id: Option<String>,
}

/// Who reboots after an install from the channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reboot {
    /// The daemon, within the window.
    #[default]
    Window,
    /// A person.
    ByHand,
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            url: None,
            name: ChannelName::stable(),
            poll: Duration::from_secs(6 * 3600),
            jitter: Duration::from_secs(1800),
            window: None,
            reboot: Reboot::default(),
            metered_command: Vec::new(),
            report: true,
            device_id: None,
        }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let url = String::deserialize(deserializer)?;
    if is_oci(&url) {
        return match url.parse::<Reference>() {
            Ok(Reference { tag: None, .. }) => Ok(Some(url)),
            Ok(_) => {
                Err(de::Error::custom("the address of a repository has no tag; remove the tag"))
            }
            Err(error) => Err(de::Error::custom(error)),
        };
    }
    let known = ["https://", "http://", "/"].iter().any(|start| url.starts_with(start));
    if known && !url.chars().any(|c| c.is_control() || c == ' ') {
        Ok(Some(url))
    } else {
        Err(de::Error::custom(format!(
            "{url:?} is neither https://..., http://..., oci://... nor a folder /..."
        )))
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChannelName, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn up_to_a_month<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        seconds @ 0..=2_678_400 => Ok(Duration::from_secs(seconds)),
        other => Err(de::Error::custom(format!("{other} s is more than 31 days (2678400 s)"))),
    }
}
