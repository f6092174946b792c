//! The answer of `daruma channel`, as JSON for programs and as text for a person.
//!
//! `show` fills the fields. A field may be added, but a field never changes its meaning.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The answer of `daruma channel`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Trusted {
    /// The root document. Absent: the keyring counts, and no channel can be followed.
    pub root: Option<TrustedRoot>,
    /// The channel. Absent: none is configured, or there is no root document.
    pub channel: Option<Followed>,
    /// The same as text for a person.
    #[serde(skip)]
    pub(crate) text: String,
}

/// The root document that counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TrustedRoot {
    /// Its version.
    pub version: u64,
    /// The version of the one in the image.
    pub anchor_version: u64,
    /// Time until which channels are followed.
    pub expires: String,
    /// True if that time is over, by this device's clock.
    pub expired: bool,
    /// `root`, `channel` and `release`.
    pub roles: BTreeMap<&'static str, TrustedRole>,
}

/// The keys whose signatures count for something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TrustedRole {
    /// How many of the keys must sign.
    pub threshold: usize,
    /// Ids of the keys.
    pub keys: Vec<String>,
}

/// The channel that is followed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Followed {
    /// Its name.
    pub name: String,
    /// The repository, without a login.
    pub url: String,
    /// The document that was accepted last. Absent: none yet, or none since the keys were replaced.
    pub seen: Option<Seen>,
    /// Time of the last successful look, by this device's clock.
    pub last_contact: Option<String>,
}

/// A channel document that was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Seen {
    /// No document with a lower serial is accepted.
    pub serial: u64,
    /// When it was made.
    pub issued: String,
    /// From this time on nothing is installed from it.
    pub expires: String,
    /// True if that time has come, by this device's clock.
    pub expired: bool,
    /// How many releases it lists.
    pub releases: usize,
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
