//! Keys of JSON objects that are for later readers.
//!
//! The documents say which of their objects may have such keys. Such a key begins with `x-`. Any
//! other unknown key is refused.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The keys of an object that begin with `x-`, kept as they are. Any other unknown key is an error:
/// what an old reader must not miss cannot be slipped past it. (Serde's `deny_unknown_fields` knows
/// no exception.)
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
