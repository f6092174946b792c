//! The root document: which keys speak for what.
//!
//! Keeping the newest one that was seen is left to the agent. A root document is signed by its own
//! root keys and by those of the one before.

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

/// Who may sign what. Its holders replace any key, the root's own included, by a new version of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Root {
    /// Rises with every change, from 1.
    pub version: u64,
    /// From then on nothing is installed from a channel under it.
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
    /// Signs root documents.
    #[serde(with = "keys")]
    pub root: Keyring,
    /// Signs channels.
    #[serde(with = "keys")]
    pub channel: Keyring,
    /// Signs bundles.
    #[serde(with = "keys")]
    pub release: Keyring,
}

/// The name of a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Signs root documents.
    Root,
    /// Signs channels.
    Channel,
    /// Signs bundles.
    Release,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Root, Self::Channel, Self::Release];

    /// As in the document.
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
    /// The keys of a role.
    #[must_use]
    pub fn of(&self, role: Role) -> &Keyring {
        match role {
            Role::Root => &self.root,
            Role::Channel => &self.channel,
            Role::Release => &self.release,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, role: Role) -> &mut Keyring {
        match role {
            Role::Root => &mut self.root,
            Role::Channel => &mut self.channel,
            Role::Release => &mut self.release,
        }
    }
}

impl Root {
    /// Reads one that is trusted for where it lies (a device's image, a publisher's own folder),
    /// and checks that it is whole: signed by its own root keys.
    ///
    /// # Errors
    /// It is too large, damaged, invalid, or not signed by enough of its own root keys.
    pub fn anchor(bytes: &[u8]) -> Result<Self, ChannelError> {
        let signed = Signed::parse(Kind::Root, bytes)?;
        let root = Self::claimed(&signed)?;
        signed.signers(&root.roles.root)?;
        Ok(root)
    }

    /// Reads the one that comes after this one: signed by enough of *these* root keys and of its
    /// own, and of a higher version. It may have expired: what comes after it need not have.
    ///
    /// # Errors
    /// What is not fulfilled.
    pub fn successor(&self, bytes: &[u8]) -> Result<Self, ChannelError> {
        let signed = Signed::parse(Kind::Root, bytes)?;
        // Before anything of it is parsed.
        signed.signers(&self.roles.root)?;
        let next = Self::claimed(&signed)?;
        signed.signers(&next.roles.root)?;
        if next.version <= self.version {
            return Err(ChannelError::RootOrder { trusted: self.version, got: next.version });
        }
        Ok(next)
    }

    /// What a document says, whoever has signed it. For showing it and for changing a draft.
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

    /// The document, not signed yet.
    ///
    /// # Errors
    /// [`ChannelError::TooLarge`].
    pub fn to_signed(&self) -> Result<Signed, ChannelError> {
        Signed::new(Kind::Root, self)
    }
}

/// A role in the document: `{"threshold": 1, "keys": ["MCow…"]}`, each key as the base64 line of
/// its SPKI PEM.
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
        // A key that comes twice must not make two of one holder.
        if ring.keys().count() != count {
            return Err(D::Error::custom("a key comes twice in a role"));
        }
        Ok(ring)
    }
}
