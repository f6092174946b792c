//! The channel document: the releases that a publisher offers.
//!
//! `signed` checks the signatures, and `decision` picks a release. Each publication has a higher
//! serial than the one before.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::channel::document::error::ChannelError;
use crate::channel::document::kind::Kind;
use crate::channel::document::later::Later;
use crate::channel::document::location::Location;
use crate::channel::document::rollout::Rollout;
use crate::channel::document::root::Root;
use crate::channel::document::signed::Signed;
use crate::channel::document::time::Timestamp;
use crate::value::limits;
use crate::{BuildId, ChannelName, Compatible, Sha256};

/// A list of releases.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Channel {
    /// The channel's name. The channel's file is `NAME.channel.json`.
    pub name: ChannelName,
    /// Counts the changes of the channel, from 1. Every change makes it higher.
    pub serial: u64,
    /// The oldest version of the root document that a reader may use.
    pub root: u64,
    /// When the publisher made the document. A clock that stands before this moment is wrong.
    pub issued: Timestamp,
    /// From this moment on a device installs nothing from the channel.
    pub expires: Timestamp,
    /// The releases. Each kind of device has each version once.
    pub releases: Vec<Release>,
    /// Keys for later readers.
    #[serde(flatten)]
    pub later: Later,
}

/// A bundle on offer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Release {
    /// The kind of device.
    pub compatible: Compatible,
    /// Version of the system.
    pub version: Version,
    /// Identity of the build.
    pub build: BuildId,
    /// The release's identity: hash of the bundle's manifest.
    pub manifest_sha256: Sha256,
    /// Where the bundle is.
    pub url: Location,
    /// Size of the bundle, bytes.
    pub size: u64,
    /// Bytes of the bundle's tail, footer included. A suffix range of this length gets the tail.
    pub tail: u64,
    /// A device must run at least this version to go to the release directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_version: Option<Version>,
    /// Deltas, which are shorter ways from certain releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<Delta>,
    /// Which devices may take the release when. Absent: every device may at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Why the publisher has withdrawn the release. Absent: the release is not withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// Keys for later readers.
    #[serde(flatten)]
    pub later: Later,
}

/// A file that makes one release from another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// The release (its manifest's hash) that the device must hold.
    pub from: Sha256,
    /// Where the delta is.
    pub url: Location,
    /// Size of the delta, bytes.
    pub size: u64,
    /// SHA-256 of the delta.
    pub sha256: Sha256,
    /// MiB of memory that a device must grant the delta. Absent: [`crate::delta::limits::MEMORY`].
    #[serde(
        rename = "memory-mib",
        default = "least_memory",
        skip_serializing_if = "is_least_memory"
    )]
    pub memory_mib: u32,
    /// Keys for later readers.
    #[serde(flatten)]
    pub later: Later,
}

fn least_memory() -> u32 {
    crate::delta::limits::MEMORY
}

fn is_least_memory(mib: &u32) -> bool {
    *mib <= least_memory()
}

impl Channel {
    /// Reads the channel `name`. Enough of the root's channel keys must have signed it, and it must
    /// be valid. [`crate::channel::decision::decide`] checks whether the channel has expired.
    ///
    /// # Errors
    /// The error names the first condition that the document does not fulfil.
    pub fn open(bytes: &[u8], name: &ChannelName, root: &Root) -> Result<Self, ChannelError> {
        let signed = Signed::parse(Kind::Channel, bytes)?;
        // The signatures come first: nothing of the body is parsed before they are good.
        signed.signers(&root.roles.channel)?;
        let channel = Self::claimed(&signed)?;
        if channel.name != *name {
            let (wanted, got) = (name.to_string(), channel.name.to_string());
            return Err(ChannelError::OtherName { wanted, got });
        }
        if channel.root > root.version {
            return Err(ChannelError::RootTooOld { wanted: channel.root, trusted: root.version });
        }
        Ok(channel)
    }

    /// Returns what a document says, whoever has signed it.
    ///
    /// # Errors
    /// [`ChannelError::Invalid`].
    pub fn claimed(signed: &Signed) -> Result<Self, ChannelError> {
        let channel: Self = signed.read()?;
        channel.check().map_err(|why| ChannelError::Invalid { kind: Kind::Channel, why })?;
        Ok(channel)
    }

    /// Returns the document, not signed yet.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`], or a field is invalid.
    pub fn to_signed(&self) -> Result<Signed, ChannelError> {
        self.check().map_err(|why| ChannelError::Invalid { kind: Kind::Channel, why })?;
        Signed::new(Kind::Channel, self)
    }

    /// Returns the release of this kind of device and this version.
    #[must_use]
    pub fn release(&self, compatible: &Compatible, version: &Version) -> Option<&Release> {
        self.releases.iter().find(|release| release.is(compatible, version))
    }

    fn check(&self) -> Result<(), String> {
        for (what, number) in [("serial", self.serial), ("root", self.root)] {
            if number == 0 || number > limits::COUNTER {
                return Err(format!("{what} {number} is not between 1 and 2^53"));
            }
        }
        if self.expires <= self.issued {
            return Err("it expires before it is issued".to_owned());
        }
        if self.releases.len() > limits::RELEASES {
            return Err(format!("more than {} releases", limits::RELEASES));
        }
        for (index, release) in self.releases.iter().enumerate() {
            release.check().map_err(|why| {
                format!("release {} {}: {why}", release.compatible, release.version)
            })?;
            if self.releases[..index]
                .iter()
                .any(|other| other.is(&release.compatible, &release.version))
            {
                return Err(format!(
                    "release {} {} comes twice",
                    release.compatible, release.version
                ));
            }
        }
        Ok(())
    }
}

impl Release {
    /// Returns true if the release is for this kind of device and has this version.
    #[must_use]
    pub fn is(&self, compatible: &Compatible, version: &Version) -> bool {
        self.compatible == *compatible && self.version.cmp_precedence(version).is_eq()
    }

    fn check(&self) -> Result<(), String> {
        if self.tail < limits::FOOTER as u64 || self.tail > limits::TAIL || self.tail >= self.size {
            return Err("tail is not within the limits of a bundle".to_owned());
        }
        if self.size > limits::SQUASHFS + limits::TAIL {
            return Err("size is above the limit of a bundle".to_owned());
        }
        if self.deltas.len() > limits::DELTAS {
            return Err(format!("more than {} deltas", limits::DELTAS));
        }
        if self.deltas.iter().any(|delta| delta.size == 0 || delta.size > self.size) {
            return Err("a delta is empty or larger than the bundle".to_owned());
        }
        if let Some(rollout) = &self.rollout
            && (rollout.percent > 100 || rollout.hours > limits::ROLLOUT_HOURS)
        {
            return Err("rollout: at most 100 percent and 366 days".to_owned());
        }
        if let Some(reason) = &self.withdrawn
            && (reason.is_empty()
                || reason.len() > limits::TEXT
                || reason.chars().any(char::is_control))
        {
            return Err(format!("withdrawn: a reason is one line of 1 to {} bytes", limits::TEXT));
        }
        Ok(())
    }
}
