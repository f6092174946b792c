//! The errors of a manifest, with the place of each error.
//!
//! The caller adds which bundle it is. A message begins with the line or the section.

use std::fmt;

/// What is wrong with a manifest. Displays as `line 3: …` or `[update] version: …`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestError {
    place: String,
    why: String,
}

impl ManifestError {
    pub(crate) fn line(number: usize, why: impl Into<String>) -> Self {
        Self { place: format!("line {number}"), why: why.into() }
    }

    pub(crate) fn at(section: &str, why: impl Into<String>) -> Self {
        Self { place: format!("[{section}]"), why: why.into() }
    }

    pub(crate) fn whole(why: impl Into<String>) -> Self {
        Self { place: String::new(), why: why.into() }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.why)
    }
}

impl std::error::Error for ManifestError {}
