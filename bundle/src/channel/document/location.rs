//! Where a bundle or delta lies: a URL, or a path beside the channel.
//!
//! The agent fetches it. A location is text of a signed document, and is checked before it becomes
//! this type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::oci;
use crate::value::limits;

/// A URL. It is absolute (`http://…`, `https://…`), or relative to the folder of the channel. A
/// relative URL never leads out of that folder.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Location(String);

impl Location {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the address. `folder` is the address of the channel's folder, or of its repository
    /// in a registry.
    #[must_use]
    pub fn within(&self, folder: &str) -> String {
        if is_absolute(&self.0) { self.0.clone() } else { oci::beside(folder, &self.0) }
    }
}

fn is_absolute(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~/+%?=&,;:@!$()[]*".contains(&c);
        let is_plain = !text.is_empty() && text.len() <= limits::URL && text.bytes().all(plain);
        // A relative location also becomes the name of a file.
        let is_below = || {
            let part = |part: &str| !part.is_empty() && part != "." && part != "..";
            !text.contains(['%', '?', ':']) && text.split('/').all(part)
        };
        if is_plain && (is_absolute(text) || is_below()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is neither an http(s) URL nor a path below the channel's folder"))
        }
    }
}

impl TryFrom<String> for Location {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_leads_below_the_folder_or_to_a_server() {
        for (text, at) in [
            ("bundles/router-2.0.0.daruma", "https://example.org/d/bundles/router-2.0.0.daruma"),
            ("https://cdn.example.org/a%20b?c=1", "https://cdn.example.org/a%20b?c=1"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.within("https://example.org/d/"), at);
        }
        for text in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "file:///x",
            "ftp://x",
            "a b",
            "a\nb",
            "a\"b",
            "a%2e",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
        assert!("a".repeat(limits::URL + 1).parse::<Location>().is_err());
    }
}
