//! The errors for an address, a tag or a manifest of a registry that is refused.
//!
//! The clients add the address. An address is refused before anything is sent.

/// Why something of a registry is refused: cause and remedy. The caller adds the address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OciError {
    /// The text is no address in a registry.
    #[error("not an address in a registry, oci://HOST[:PORT]/NAME[:TAG]: {0}")]
    Reference(&'static str),
    /// The text is no tag.
    #[error(
        "not a tag of a registry: a tag has 1 to 128 of A-Z a-z 0-9 . _ - and begins with a \
            letter, digit or underscore"
    )]
    Tag,
    /// A file's path makes a tag that is too long.
    #[error(
        "the tag of {0} would be longer than 128 characters; give the release a shorter name or \
            version"
    )]
    LongPath(String),
    /// The manifest is not one of Daruma's artifacts.
    #[error("the manifest is not one of Daruma's: {0}; push the file with `daruma-bundler push`")]
    Manifest(String),
}
