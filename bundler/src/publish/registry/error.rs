//! The errors of a registry and of what it sends.
//!
//! The callers add the address. Text from the registry is quoted before it is printed.

use bundle::oci::OciError;

/// An error of a registry, with cause and remedy. The caller says what was being done and with
/// which address.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not answer, or the transfer broke off.
    #[error("{0}; run the command again: files that were sent or fetched whole are skipped")]
    Network(String),
    /// The registry refuses, or its answers cannot be used.
    #[error("{0}")]
    Server(String),
    /// The registry has no such thing.
    #[error("the registry has no such artifact; is the address right?")]
    Missing,
    /// The bytes are not what their manifest says.
    #[error("{0}; the bytes that came were thrown away")]
    Content(String),
    /// The registry wants a login.
    #[error("{0}")]
    Login(String),
    /// The address or a manifest is wrong.
    #[error(transparent)]
    Oci(#[from] OciError),
}

impl RegistryError {
    /// Returns the exit code of the program (the table is in `docs/operating.md`).
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

/// Returns part of a server's text as one short line that cannot move a terminal's cursor.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
