//! Numbers with bounds that several sections use.
//!
//! Each section chooses the bounds of its keys. A number out of bounds is refused, and the error
//! names the bounds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Parses a time from one second to one day. A longer time would be a typing error, and zero would
/// mean "never".
pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        seconds @ 1..=86_400 => Ok(Duration::from_secs(seconds)),
        other => Err(de::Error::custom(format!("{other} s is not between 1 and 86400 s"))),
    }
}

pub(crate) fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(de::Error::custom("a threshold of 0 would accept unsigned bundles")),
        count => Ok(count),
    }
}
