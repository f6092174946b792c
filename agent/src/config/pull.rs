//! Section `[pull]`: how the agent fetches bundles from web servers.
//!
//! `pull` acts on the values. This file checks header names and values, so that none can smuggle in
//! a second header or request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::config::numbers::seconds;

/// Headers that carry the protocol itself. Setting them would break range requests.
const OWN_HEADERS: [&str; 9] = [
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "if-none-match",
    "if-range",
    "proxy-authorization",
    "range",
    "transfer-encoding",
];
/// Most headers that may be configured.
const HEADERS: usize = 32;
/// Most bytes of a configured header's value.
const HEADER_VALUE: usize = 4096;

/// Section `[pull]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Pull {
    /// Address of the proxy. `direct`: no proxy. Absent: the environment's.
    pub proxy: Option<String>,
    /// PEM file of certificate authorities that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate (chain) that this device shows to a server that asks for one.
    pub client_cert: Option<PathBuf>,
    /// PEM file of the certificate's key.
    pub client_key: Option<PathBuf>,
    /// Headers of every request to the named host. A host that it redirects to does not get them.
    #[serde(deserialize_with = "headers")]
    pub headers: BTreeMap<String, String>,
    /// Seconds until a connection must be made.
    #[serde(rename = "connect-timeout-s", deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// Least bytes per second. A connection that is slower over `low_speed` is given up.
    pub low_speed_bytes_per_s: u64,
    /// Seconds over which the speed is measured. A connection that brings nothing for so long is
    /// always given up.
    #[serde(rename = "low-speed-s", deserialize_with = "seconds")]
    pub low_speed: Duration,
    /// Tries in a row without progress until an install gives up.
    #[serde(deserialize_with = "tries")]
    pub tries: u32,
    /// Most bytes per second. 0: no limit.
    pub rate_limit_bytes_per_s: u64,
    /// Most bytes that one install may fetch. 0: no limit.
    pub byte_budget: u64,
    /// Most MiB of memory that applying a delta may take.
    #[serde(deserialize_with = "mebibytes")]
    pub delta_memory_mib: u32,
}

impl Default for Pull {
    fn default() -> Self {
        Self {
            proxy: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
            headers: BTreeMap::new(),
            connect_timeout: Duration::from_secs(15),
            low_speed_bytes_per_s: 1024,
            low_speed: Duration::from_secs(30),
            tries: 10,
            rate_limit_bytes_per_s: 0,
            byte_budget: 0,
            delta_memory_mib: bundle::delta::limits::MEMORY,
        }
    }
}

fn tries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        tries @ 1..=1000 => Ok(tries),
        other => Err(de::Error::custom(format!("{other} tries is not between 1 and 1000"))),
    }
}

/// Refuses less than the default: then no delta would be taken, and nobody would know why.
fn mebibytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        mib @ bundle::delta::limits::MEMORY.. => Ok(mib),
        other => Err(de::Error::custom(format!(
            "{other} MiB is less than {} MiB, which every delta needs",
            bundle::delta::limits::MEMORY
        ))),
    }
}

/// Parses headers. A name may have only letters that HTTP allows, and a value only one line.
fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let given = BTreeMap::<String, String>::deserialize(deserializer)?;
    if given.len() > HEADERS {
        return Err(de::Error::custom(format!("more than {HEADERS} headers")));
    }
    for (name, value) in &given {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) {
            return Err(de::Error::custom(format!("{name:?} is not the name of a header")));
        }
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(de::Error::custom(format!("the header {name} is set by daruma itself")));
        }
        if value.len() > HEADER_VALUE || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(de::Error::custom(format!(
                "the value of the header {name} is longer than {HEADER_VALUE} characters, or not \
                    printable ASCII"
            )));
        }
    }
    Ok(given)
}
