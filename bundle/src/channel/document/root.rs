//! The root document: which keys speak for what.
//!
//! The agent keeps the newest root document that it has seen. The document's own root keys sign it,
//! and so do the root keys of the document before it.

use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::document::error::ChannelError;
use crate::channel::document::kind::Kind;
use crate::channel::document::later::Later;
use crate::channel::document::signed::Signed;
use crate::channel::document::time::Timestamp;
use crate::value::limits;
use crate::{Keyring, PublicKey};

/// Who may sign what. The holders of the root keys replace any key by a new version of the
/// document. They can replace their own keys too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Root {
    /// Counts the changes of the document, from 1. Every change makes it higher.
    pub version: u64,
    /// From this moment on a device installs nothing from a channel under this root.
    pub expires: Timestamp,
    /// The keys.
    pub roles: Roles,
    /// Keys for later readers.
    #[serde(flatten)]
    pub later: Later,
}

/// The roles.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// These keys sign root documents.
    #[serde(with = "keys")]
    pub root: Keyring,
    /// These keys sign channels.
    #[serde(with = "keys")]
    pub channel: Keyring,
    /// These keys sign bundles.
    #[serde(with = "keys")]
    pub release: Keyring,
}

/// The name of a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Its keys sign root documents.
    Root,
    /// Its keys sign channels.
    Channel,
    /// Its keys sign bundles.
    Release,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Root, Self::Channel, Self::Release];

    /// Returns the role's name in the document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Channel => "channel",
            Self::Release => "release",
        }
    }
}

impl Roles {
    /// Returns the keys of a role.
    #[must_use]
    pub fn of(&self, role: Role) -> &Keyring {
        match role {
            Role::Root => &self.root,
            Role::Channel => &self.channel,
            Role::Release => &self.release,
        }
    }

    /// Returns the keys of a role, for the caller to change.
    pub fn of_mut(&mut self, role: Role) -> &mut Keyring {
        match role {
            Role::Root => &mut self.root,
            Role::Channel => &mut self.channel,
            Role::Release => &mut self.release,
        }
    }
}

impl Root {
    /// Reads a root document that is trusted for where it lies: in a device's image, or in a
    /// publisher's own folder. Checks that the document is whole: its own root keys must have
    /// signed it.
    ///
    /// # Errors
    /// The document is too large, damaged, invalid, or not signed by enough of its own root keys.
    pub fn anchor(bytes: &[u8]) -> Result<Self, ChannelError> {
        let signed = Signed::parse(Kind::Root, bytes)?;
        let root = Self::claimed(&signed)?;
        signed.signers(&root.roles.root)?;
        Ok(root)
    }

    /// Reads the root document that follows this one. Enough of *these* root keys and enough of its
    /// own must have signed it, and its version must be higher. It may have expired, because a
    /// later document may follow it that has not.
    ///
    /// # Errors
    /// The error names the first condition that the document does not fulfil.
    pub fn successor(&self, bytes: &[u8]) -> Result<Self, ChannelError> {
        let signed = Signed::parse(Kind::Root, bytes)?;
        // The signatures come first: nothing of the body is parsed before they are good.
        signed.signers(&self.roles.root)?;
        let next = Self::claimed(&signed)?;
        signed.signers(&next.roles.root)?;
        if next.version <= self.version {
            return Err(ChannelError::RootOrder { trusted: self.version, got: next.version });
        }
        Ok(next)
    }

    /// Returns what a document says, whoever has signed it. Programs show the result, or change it
    /// as a draft.
    ///
    /// # Errors
    /// [`ChannelError::Invalid`].
    pub fn claimed(signed: &Signed) -> Result<Self, ChannelError> {
        let root: Self = signed.read()?;
        if root.version == 0 || root.version > limits::COUNTER {
            let why = format!("version {} is not between 1 and 2^53", root.version);
            return Err(ChannelError::Invalid { kind: Kind::Root, why });
        }
        Ok(root)
    }

    /// Returns the document, not signed yet.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`].
    pub fn to_signed(&self) -> Result<Signed, ChannelError> {
        Signed::new(Kind::Root, self)
    }
}

/// Reads and writes a role in the document: `{"threshold": 1, "keys": ["MCow…"]}`. Each key is the
/// base64 line of its SPKI PEM.
mod keys {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        threshold: usize,
        keys: Vec<String>,
    }

    pub(crate) fn serialize<S: Serializer>(
        ring: &Keyring,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let keys: Vec<String> = ring.keys().map(PublicKey::to_base64).collect();
        let mut role = serializer.serialize_struct("Role", 2)?;
        role.serialize_field("threshold", &ring.threshold())?;
        role.serialize_field("keys", &keys)?;
        role.end()
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Keyring, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        if raw.keys.len() > limits::KEYS {
            return Err(D::Error::custom(format!("more than {} keys in a role", limits::KEYS)));
        }
        let keys: Result<Vec<_>, _> =
            raw.keys.iter().map(|key| PublicKey::from_base64(key)).collect();
        let keys = keys.map_err(D::Error::custom)?;
        let count = keys.len();
        let ring = Keyring::new(keys, raw.threshold).map_err(D::Error::custom)?;
        // One holder who lists his key twice must not count as two holders.
        if ring.keys().count() != count {
            return Err(D::Error::custom("a key comes twice in a role"));
        }
        Ok(ring)
    }
}
