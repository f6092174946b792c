//! The errors for a bundle, a key or an image that is refused.
//!
//! The programs print the error. Each variant has an exit code, which docs/operating.md lists.

use std::io;
use std::path::{Path, PathBuf};

use semver::Version;

use crate::{Compatible, ImageName, KeyId, ManifestError};

/// Why something is refused: one line with the cause and the remedy. The caller adds what it was
/// doing to which bundle. A variant that concerns another file carries the path of that file.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Reading the bundle failed.
    #[error("cannot read {what}: {source}; check the medium and try again")]
    Read {
        /// What was being read.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A file (a key, an input image, the output) cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// `read`, `write`, …
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file does not end in a footer.
    #[error(
        "not a Daruma bundle, or cut short or over-long: the file does not end in a footer; get \
            the file again"
    )]
    NotABundle,
    /// The footer contradicts the file.
    #[error("torn bundle: {0}; get the file again")]
    Torn(String),
    /// The bundle is of a later format.
    #[error(
        "the bundle is of format {0}, and this program reads format 1; update this program first"
    )]
    Format(u32),
    /// There is no signature.
    #[error("the bundle is not signed; get a bundle that its maker has signed")]
    NotSigned,
    /// No key of the keyring has signed the bundle.
    #[error("signed by a stranger: key {} is not in the keyring; use a bundle signed by a trusted \
        key, or add the signer's public key", list(.0))]
    Stranger(Vec<KeyId>),
    /// A signature that claims to be by a key of the keyring is wrong.
    #[error(
        "the signature by key {0} is wrong: the manifest is not what was signed; get the file \
            again, from its maker"
    )]
    BadSignature(KeyId),
    /// Too few keys of the keyring have signed.
    #[error(
        "signed by {have} trusted key(s), and the keyring asks for {need}; get a bundle that more \
            key holders have signed"
    )]
    Threshold {
        /// How many keys of the keyring have signed the bundle.
        have: usize,
        /// How many keys must sign the bundle.
        need: usize,
    },
    /// The content does not match the signed hashes.
    #[error("damaged bundle: {0} does not match its hash; get the file again")]
    Content(String),
    /// The manifest is invalid, or contradicts the rest of the bundle.
    #[error("invalid manifest: {0}; the bundle was made wrongly, make the bundle anew")]
    Manifest(#[from] ManifestError),
    /// The bundle is for another kind of device.
    #[error("the bundle is for {bundle:?} and this device is {device:?}; use a bundle made for \
        {device:?}", bundle = bundle.as_str(), device = device.as_str())]
    OtherCompatible {
        /// The kind of device that the bundle is for.
        bundle: Compatible,
        /// The kind of this device.
        device: Compatible,
    },
    /// The bundle is older than the anti-rollback floor.
    #[error(
        "version {version} is below the anti-rollback floor {floor}; use a bundle of at least \
            version {floor}"
    )]
    BelowFloor {
        /// The bundle's version.
        version: Version,
        /// The oldest version that the committed system allows.
        floor: Version,
    },
    /// The bundle is older than the system it would replace, and the caller allows no downgrade.
    #[error(
        "version {version} is older than the running {current}; ask for the downgrade explicitly \
            or use a newer bundle"
    )]
    Older {
        /// The bundle's version.
        version: Version,
        /// The running version.
        current: Version,
    },
    /// An image does not fit its partition.
    #[error(
        "image {image} is {size} bytes and its partition holds {capacity}; make the image smaller \
            or the partition larger"
    )]
    TooLarge {
        /// The image.
        image: ImageName,
        /// Its size, bytes.
        size: u64,
        /// The partition's size, bytes.
        capacity: u64,
    },
    /// A key file or a keyring cannot be used.
    #[error("cannot use {}: {why}", path.display())]
    Key {
        /// The file or folder.
        path: PathBuf,
        /// Cause and remedy.
        why: String,
    },
    /// A PEM text is not a key of the kind that is needed.
    #[error("not an Ed25519 {0} key in PEM ({1}); make one with `daruma-bundler keygen`")]
    Pem(&'static str, String),
    /// An image is not a stored SquashFS as Daruma writes it.
    #[error("not a stored SquashFS as Daruma writes it: {0}; write the image anew")]
    Squashfs(String),
    /// A delta cannot be used.
    #[error("the delta cannot be used: {0}; take the bundle itself")]
    Delta(String),
    /// The writer cannot make a bundle of its input.
    #[error("{0}")]
    Input(String),
}

impl BundleError {
    /// Returns the exit code of a program that ends with this error (`docs/operating.md` has the
    /// table).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::File { .. } => 1,
            Self::NotABundle | Self::Torn(_) | Self::Format(_) | Self::Delta(_) => 10,
            Self::NotSigned
            | Self::Stranger(_)
            | Self::BadSignature(_)
            | Self::Threshold { .. } => 11,
            Self::Content(_) | Self::Squashfs(_) => 12,
            Self::OtherCompatible { .. } => 13,
            Self::BelowFloor { .. } | Self::Older { .. } => 14,
            Self::TooLarge { .. } => 15,
            Self::Manifest(_) => 16,
            Self::Key { .. } | Self::Pem(..) | Self::Input(_) => 23,
        }
    }

    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }

    pub(crate) fn read(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { what, source }
    }
}

/// Returns the message of a parser, with control characters escaped. The message may quote the
/// parser's input, which must not move a terminal's cursor.
pub(crate) fn quoting(error: &dyn std::error::Error) -> String {
    let plain = |c: char| if c.is_control() { c.escape_debug().collect() } else { String::from(c) };
    error.to_string().chars().map(plain).collect()
}

fn list(keys: &[KeyId]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
