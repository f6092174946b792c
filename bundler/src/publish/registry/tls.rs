//! The certificate authorities that this program trusts on the way to a registry.
//!
//! The build host brings the certificates. Daruma's own signatures do not depend on them.

use std::sync::Arc;

use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::publish::registry::error::RegistryError;

/// Returns the authorities that this machine trusts.
pub(crate) fn tls() -> Result<TlsConfig, RegistryError> {
    let certs = rustls_native_certs::load_native_certs().certs;
    if certs.is_empty() {
        let line = "no certificate authority is trusted; install the package ca-certificates";
        return Err(RegistryError::Login(line.to_owned()));
    }
    let certs: Vec<_> = certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&certs))
        .build())
}
