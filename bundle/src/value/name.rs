//! The names inside a manifest.
//!
//! The users of a name know what it stands for. A name is checked once, where it enters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::value::limits;

/// The text is not a valid name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidName {
    text: String,
    wanted: &'static str,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}", self.text, self.wanted)
    }
}

impl std::error::Error for InvalidName {}

/// The kind of device that a bundle is for: 1 to 64 of `A-Z a-z 0-9 . _ -`, beginning with a letter
/// or a digit. The name has no blanks, because it also stands unquoted in `slot.cfg`, a GRUB
/// script.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Compatible(String);

/// Identity of one build, for example a date or a commit. It is 1 to 128 of `A-Z a-z 0-9 . _ + : ~
/// -`, beginning with a letter or a digit. It also stands unquoted in `slot.cfg`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct BuildId(String);

/// Name of a file in the root of a stored SquashFS: 1 to 255 of `A-Z a-z 0-9 . _ + -`, beginning
/// with a letter or a digit. A name has no folders, so no path can lead out of one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct FileName(String);

/// Name of an image: `boot`, `root`, or `x-` and up to 30 of `a-z 0-9 -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ImageName(String);

/// Name of a channel. It has the form of [`Compatible`], because it is part of a file's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ChannelName(String);

fn word(text: &str, longest: usize, extra: &[u8]) -> bool {
    text.len() <= longest
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
}

impl Compatible {
    fn valid(text: &str) -> bool {
        word(text, 64, b"._-")
    }
    const WANTED: &str = "1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit";
}

impl ChannelName {
    /// Returns the name of the channel that a device follows if it names none.
    #[must_use]
    pub fn stable() -> Self {
        Self("stable".to_owned())
    }

    fn valid(text: &str) -> bool {
        Compatible::valid(text)
    }
    const WANTED: &str = Compatible::WANTED;
}

impl BuildId {
    fn valid(text: &str) -> bool {
        word(text, 128, b"._+:~-")
    }
    const WANTED: &str = "1 to 128 of A-Z a-z 0-9 . _ + : ~ - that begin with a letter or digit";
}

impl FileName {
    fn valid(text: &str) -> bool {
        word(text, limits::FILE_NAME, b"._+-")
    }
    const WANTED: &str =
        "a file name: 1 to 255 of A-Z a-z 0-9 . _ + - that begin with a letter or digit";
}

impl ImageName {
    /// Kernel, initramfs and `slot.cfg`.
    pub const BOOT: &str = "boot";
    /// The root filesystem and its dm-verity tree.
    pub const ROOT: &str = "root";

    fn valid(text: &str) -> bool {
        text == Self::BOOT
            || text == Self::ROOT
            || text.len() <= 32
                && text.strip_prefix("x-").is_some_and(|rest| {
                    !rest.is_empty()
                        && rest
                            .bytes()
                            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
                })
    }
    const WANTED: &str =
        "an image that this format knows: boot, root, or x- and up to 30 of a-z 0-9 -";
}

macro_rules! text_newtype {
    ($($name:ident)*) => {$(
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                if Self::valid(&text) {
                    Ok(Self(text))
                } else {
                    Err(InvalidName { text, wanted: Self::WANTED })
                }
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::try_from(text.to_owned())
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}
text_newtype!(BuildId ChannelName Compatible FileName ImageName);
