//! The configurations of TLS: whom the agent trusts, and which certificate it shows.
//!
//! `connector` chooses one of the two. Only the named server sees the device's certificate, never a
//! server that it redirects to.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::pull::trouble::Trouble;

/// The files of the configuration for TLS, as paths on this machine.
#[derive(Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<std::path::PathBuf>,
    pub(crate) client_cert: Option<std::path::PathBuf>,
    pub(crate) client_key: Option<std::path::PathBuf>,
}

/// One configuration for the named server, and one for servers that it redirects to.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) own: Arc<ClientConfig>,
    pub(crate) others: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, Trouble> {
        let mut roots = RootCertStore::empty();
        // A certificate of the system's store that cannot be read is missed only if a server needs
        // it.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &files.ca {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, &error))?;
            }
        }
        if roots.is_empty() {
            return Err(Trouble::config(
                "no certificate authority is trusted; install the package ca-certificates, or set \
                    ca-file of [pull]",
            ));
        }
        let roots = Arc::new(roots);
        let builder = || {
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map(|builder| builder.with_root_certificates(roots.clone()))
                .map_err(|error| Trouble::config(format!("setting up TLS: {error}")))
        };
        let others = with_alpn(builder()?.with_no_client_auth());
        let own = match (&files.client_cert, &files.client_key) {
            (Some(cert), Some(key)) => {
                let secret =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
                let config = builder()?.with_client_auth_cert(certificates(cert)?, secret);
                with_alpn(config.map_err(|error| wrong(cert, &error))?)
            }
            (None, None) => others.clone(),
            _ => {
                return Err(Trouble::config(
                    "client-cert and client-key of [pull] need each other",
                ));
            }
        };
        Ok(Self { own, others })
    }
}

fn with_alpn(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(path, &error))?;
    if certificates.is_empty() {
        return Err(Trouble::config(format!(
            "reading {}: the file holds no certificate",
            path.display()
        )));
    }
    Ok(certificates)
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> Trouble {
    Trouble::config(format!("reading {}: {error}", path.display()))
}
