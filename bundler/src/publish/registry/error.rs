//! Why a registry is of no use, or what it sends.
//!
//! The callers add the address. Text of the registry is quoted before it is printed.

use bundle::oci::OciError;

/// What goes wrong with a registry: cause and remedy. The caller says what was being done with
/// which address.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It does not answer, or the transfer broke off.
    #[error("{0}; what was sent or fetched whole is not sent or fetched again by the next run")]
    Network(String),
    /// Its answers cannot be used, or it refuses.
    #[error("{0}")]
    Server(String),
    /// Nothing is there.
    #[error("there is no such artifact; is the address right?")]
    Missing,
    /// What it sends is not what its manifest says.
    #[error("{0}; what came of it was thrown away")]
    Content(String),
    /// It wants to know who asks.
    #[error("{0}")]
    Login(String),
    /// The address or a manifest is wrong.
    #[error(transparent)]
    Oci(#[from] OciError),
}

impl RegistryError {
    /// The exit code that the program ends with (the table is in `docs/operating.md`).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Network(_) => 25,
            Self::Server(_) | Self::Missing | Self::Oci(OciError::Manifest(_)) => 26,
            Self::Content(_) => 12,
            Self::Login(_) => 23,
            Self::Oci(_) => 2,
        }
    }
}

/// Part of what a server said, as one short line that cannot move a terminal's cursor.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
