//! Keys of JSON objects that are for later readers.
//!
//! The documents say which of their objects may have such keys. Such a key begins with `x-`. Any
//! other unknown key is refused.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The keys of an object that begin with `x-`, kept as they are. Any other unknown key is an error.
/// So nobody can put a key into a document that an old reader must obey but does not know. (Serde's
/// `deny_unknown_fields` has no exception for `x-`.)
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Later(pub BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = BTreeMap::<String, Value>::deserialize(deserializer)?;
        match keys.keys().find(|key| !key.starts_with("x-")) {
            Some(key) => Err(D::Error::custom(format!("unknown key {key:?}"))),
            None => Ok(Self(keys)),
        }
    }
}
