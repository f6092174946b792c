//! The errors for a root or channel document that is refused.
//!
//! The caller adds the path or address. Each kind of refusal has an exit code, which
//! docs/operating.md lists.

use crate::channel::document::kind::Kind;
use crate::channel::document::time::Timestamp;
use crate::{KeyId, Unsigned};

/// Why a document is refused: one line with cause and remedy. The caller adds where the document
/// came from.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChannelError {
    /// The document is larger than a document of its kind may be.
    #[error(
        "the {kind} is larger than {limit} bytes, the limit of the format; the sender is not its \
            publisher"
    )]
    TooLarge {
        /// Which document.
        kind: Kind,
        /// The limit, bytes.
        limit: usize,
    },
    /// The document is not JSON with a last line of signatures.
    #[error("this is not a signed {kind}: {why}; get the file again")]
    Form {
        /// Which document.
        kind: Kind,
        /// What is wrong.
        why: String,
    },
    /// The document does not have enough good signatures.
    #[error("the {kind} {}", unsigned(.cause))]
    Unsigned {
        /// Which document.
        kind: Kind,
        /// Why.
        cause: Unsigned,
    },
    /// The signed body is not a valid document.
    #[error("invalid {kind}: {why}; its publisher must make it anew")]
    Invalid {
        /// Which document.
        kind: Kind,
        /// What is wrong.
        why: String,
    },
    /// A root does not follow the root that is trusted.
    #[error(
        "root version {got} does not follow version {trusted}, which is trusted; the publisher \
            must raise the version"
    )]
    RootOrder {
        /// Version of the trusted root.
        trusted: u64,
        /// Version of the new one.
        got: u64,
    },
    /// The document has expired. Somebody may hold back a newer one.
    #[error(
        "the {kind} has expired on {expires}, and now is {now}; if the clock is right, the \
            publisher must renew the {kind}, or somebody holds a newer one back"
    )]
    Expired {
        /// Which document.
        kind: Kind,
        /// When it expired.
        expires: Timestamp,
        /// What the device takes for now.
        now: Timestamp,
    },
    /// The channel is older than one that the device has seen before.
    #[error(
        "the channel has serial {got}, and serial {seen} was seen before; somebody offers an old \
            channel, or the publisher must raise the serial"
    )]
    RolledBack {
        /// The highest serial seen.
        seen: u64,
        /// The serial of this document.
        got: u64,
    },
    /// Two different channels have one serial.
    #[error(
        "the channel differs from the channel with the same serial {0} that was seen before; the \
            publisher must raise the serial with every change"
    )]
    TwoFaced(u64),
    /// The document has another name than the one that was asked for.
    #[error(
        "this is the channel {got:?} and {wanted:?} was asked for; the publisher or the \
            configuration is wrong"
    )]
    OtherName {
        /// The name that was asked for.
        wanted: String,
        /// The name in the document.
        got: String,
    },
    /// The channel needs a newer root than the device could get.
    #[error(
        "the channel wants root version {wanted} and version {trusted} is trusted; the publisher \
            must put {wanted}.root.json beside the channel"
    )]
    RootTooOld {
        /// The version that the channel wants.
        wanted: u64,
        /// The version that the device has.
        trusted: u64,
    },
}

impl ChannelError {
    /// Returns true if the signatures are what is wrong. A newer root may then know other keys.
    #[must_use]
    pub fn is_of_signatures(&self) -> bool {
        matches!(self, Self::Unsigned { .. })
    }

    /// Returns the exit code of a program that ends with this error (`docs/operating.md` has the
    /// table).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.is_of_signatures() { 11 } else { 28 }
    }
}

fn unsigned(cause: &Unsigned) -> String {
    let list = |keys: &[KeyId]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match cause {
        Unsigned::None => "is not signed; get a copy that its publisher has signed".to_owned(),
        Unsigned::Stranger(keys) => {
            format!(
                "is signed by {}, and the trusted root knows no such key for it; get it from its \
                    publisher",
                list(keys)
            )
        }
        Unsigned::Wrong(key) => {
            format!(
                "has a wrong signature by key {key}: the content is not what was signed; get it \
                    again, from its publisher"
            )
        }
        Unsigned::Threshold { have, need } => {
            format!(
                "is signed by {have} trusted key(s) and {need} are needed; its publisher must \
                    have more key holders sign it"
            )
        }
    }
}
