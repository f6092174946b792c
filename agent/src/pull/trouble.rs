//! The ways in which a request fails, and which of them are worth another try.
//!
//! `patience` counts the tries, and `client::http` writes the final line. TLS says exactly what is
//! wrong, so its errors come with a remedy.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::exit::{Exit, Failure};

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Another try may help.
    Passing {
        cause: String,
        /// The wait that the server asks for.
        wait: Option<Duration>,
    },
    /// Another try would not help.
    Lasting(Exit, String),
    /// Somebody asked to stop. The failure is a whole line already.
    Stopped(Failure),
}

impl Trouble {
    pub(crate) fn passing(cause: impl fmt::Display) -> Self {
        Self::Passing { cause: cause.to_string(), wait: None }
    }

    /// Returns the trouble of a server whose answers cannot be used.
    pub(crate) fn server(cause: impl fmt::Display) -> Self {
        Self::Lasting(Exit::Server, cause.to_string())
    }

    pub(crate) fn config(cause: impl fmt::Display) -> Self {
        Self::Lasting(Exit::Config, cause.to_string())
    }

    /// Returns the trouble of an error of the connection, while `doing` something.
    pub(crate) fn of_connection(doing: impl fmt::Display, error: &(dyn Error + 'static)) -> Self {
        match tls_cause(error).and_then(lasting) {
            Some(cause) => Self::Lasting(Exit::Network, format!("{doing}: {cause}")),
            None => Self::passing(format!("{doing}: {}", causes(error))),
        }
    }
}

/// Returns the error of TLS behind `error`, if there is one.
fn tls_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<TlsError>() {
            return Some(tls);
        }
        let inner: Option<&'a (dyn Error + 'static)> = match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => None,
        };
        next = inner.or_else(|| error.source());
    }
    None
}

/// Returns the line for an error of TLS that stays the same at the next try, with its remedy.
fn lasting(error: &TlsError) -> Option<String> {
    use AlertDescription as Alert;
    Some(match error {
        TlsError::InvalidCertificate(why) => match why {
            // Its authority has the name of a trusted one, but not its key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the server's certificate is of no trusted authority; if the authority is yours, \
                    name it in ca-file of [pull]"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired; or is this device's clock wrong?".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; is this device's clock \
                    wrong?"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another name".to_owned()
            }
            other => format!("the server's certificate is refused: {other}"),
        },
        TlsError::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::HandshakeFailure),
        ) => format!(
            "the server refuses this device ({alert:?}); are client-cert and client-key \
            of [pull] right?"
        ),
        TlsError::InvalidMessage(_) => "the server does not speak TLS on this port".to_owned(),
        TlsError::PeerIncompatible(why) => format!("the server's TLS is of another kind: {why:?}"),
        _ => return None,
    })
}

/// Returns an error with everything behind it, as one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        next = error.source();
    }
    line
}
