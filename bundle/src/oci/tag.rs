//! Tags, and the paths of a repository's files that they stand for.
//!
//! `reference` says in which registry a tag is. Each path has exactly one tag, and each tag at most
//! one path.

use std::fmt;
use std::str::FromStr;

use crate::oci::error::OciError;

/// Most characters of a tag (OCI distribution specification, 1.1).
const LENGTH: usize = 128;

/// The name of an artifact in a registry's repository: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
///
/// A file's path becomes a tag in this way. Letters, digits, `.` and `-` stay. `/` becomes `__`.
/// Each other byte, `_` too, becomes `_` and two hexadecimal digits in lower case. A `.` or `-` at
/// the beginning becomes the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(String);

impl Tag {
    /// Returns the tag of a file of a repository. `path` is the file's path within the folder.
    ///
    /// # Errors
    /// The path is empty or makes a tag that is too long.
    pub fn of_path(path: &str) -> Result<Self, OciError> {
        let mut tag = String::with_capacity(path.len());
        for byte in path.bytes() {
            match byte {
                b'/' => tag.push_str("__"),
                b'.' | b'-' if !tag.is_empty() => tag.push(char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => tag.push(char::from(byte)),
                byte => tag.push_str(&format!("_{byte:02x}")),
            }
        }
        if tag.len() > LENGTH {
            return Err(OciError::LongPath(path.to_owned()));
        }
        tag.parse()
    }

    /// Returns the path that has this tag. `None`: no path has this tag, so Daruma did not make it.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'_' => match rest.next()? {
                    b'_' => b'/',
                    high => {
                        let digit = |byte: u8| char::from(byte).to_digit(16);
                        u8::try_from(digit(high)? * 16 + digit(rest.next()?)?).ok()?
                    }
                },
                byte => byte,
            });
        }
        let path = String::from_utf8(bytes).ok()?;
        // One path has one tag, so another spelling of it is refused.
        (Self::of_path(&path).as_ref() == Ok(self)).then_some(path)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        let is_tag = text.len() <= LENGTH
            && text.bytes().next().is_some_and(is_word)
            && text.bytes().all(|c| is_word(c) || c == b'.' || c == b'-');
        if is_tag { Ok(Self(text.to_owned())) } else { Err(OciError::Tag) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_repositorys_files_have_tags_that_a_person_can_read() {
        for (path, tag) in [
            ("root.json", "root.json"),
            ("12.root.json", "12.root.json"),
            ("stable.channel.json", "stable.channel.json"),
            (
                "bundles/router-2.0.0-0123456789ab.daruma",
                "bundles__router-2.0.0-0123456789ab.daruma",
            ),
            ("bundles/a_b-2.0.0+deb13.daruma", "bundles__a_5fb-2.0.0_2bdeb13.daruma"),
            (".hidden", "_2ehidden"),
            ("-x", "_2dx"),
        ] {
            assert_eq!(Tag::of_path(path).unwrap().as_str(), tag);
            assert_eq!(tag.parse::<Tag>().unwrap().path().as_deref(), Some(path));
        }
    }

    #[test]
    fn a_tag_that_no_path_makes_stands_for_none() {
        for tag in ["_2f", "a_61", "a_2F", "a_", "a_2", "_ff", "x_5g"] {
            assert_eq!(tag.parse::<Tag>().unwrap().path(), None, "{tag}");
        }
    }

    proptest! {
        #[test]
        fn every_path_comes_back_from_its_tag(path in ".{0,40}") {
            if let Ok(tag) = Tag::of_path(&path) {
                prop_assert_eq!(tag.path(), Some(path));
            } else {
                prop_assert!(path.is_empty() || path.len() > 40);
            }
        }

        #[test]
        fn no_text_is_too_strange(text in "[A-Za-z0-9_.-]{0,140}|.{0,60}") {
            if let Ok(tag) = text.parse::<Tag>()
                && let Some(path) = tag.path()
            {
                prop_assert_eq!(Tag::of_path(&path).unwrap(), tag);
            }
        }
    }
}
