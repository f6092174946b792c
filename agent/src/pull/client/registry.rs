//! The addresses and the token that a request to an OCI registry needs.
//!
//! `bundle::oci` parses references, manifests and challenges, and `oci` finds the blob of a tag. A
//! registry refuses the first request and names the server that gives tokens.

use bundle::oci::{Artifact, Challenge, Reference, token};
use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::exit::{Exit, Failure};
use crate::pull::trouble::Trouble;

/// Most bytes of a token server's answer.
pub(crate) const TOKEN: usize = 64 << 10;

/// The registry that a client asks.
#[derive(Debug)]
pub(crate) struct Registry {
    reference: Reference,
    /// The token, once the registry has asked for one.
    pub(crate) token: Option<HeaderValue>,
}

impl Registry {
    /// Returns the registry of `url`.
    ///
    /// # Errors
    /// [`Exit::Usage`]: `url` is no address of an artifact.
    pub(crate) fn of(url: &str) -> Result<Self, Failure> {
        let reference: Reference = url.parse().map_err(|error| {
            Failure::new(Exit::Usage, format!("understanding the address of the bundle: {error}"))
        })?;
        if reference.tag.is_none() {
            let line = format!(
                "understanding the address {reference}: a tag is missing, as in {reference}:TAG"
            );
            return Err(Failure::new(Exit::Usage, line));
        }
        Ok(Self { reference, token: None })
    }

    /// Returns the address of the manifest, with the login.
    pub(crate) fn manifest_url(&self) -> String {
        let url = self.reference.tag.as_ref().map(|tag| self.reference.manifest_url(tag));
        self.with_login(url.unwrap_or_default())
    }

    pub(crate) fn blob_url(&self, artifact: &Artifact) -> String {
        self.with_login(self.reference.blob_url(&artifact.digest))
    }

    fn with_login(&self, url: String) -> String {
        match &self.reference.login {
            Some(login) => url.replacen("://", &format!("://{login}@"), 1),
            None => url,
        }
    }

    /// Returns the reference for people, without the login.
    pub(crate) fn shown(&self) -> String {
        self.reference.to_string()
    }

    /// Returns the address that gives a token, after this refusal. `None`: no token is asked for.
    pub(crate) fn token_url(&self, headers: &HeaderMap) -> Option<String> {
        let scope = format!("repository:{}:pull", self.reference.name);
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let mut challenges = values.filter_map(|value| Challenge::parse(value.to_str().ok()?));
        // If the registry is asked by https, a password goes by https only.
        challenges
            .find_map(|challenge| challenge.token_url(&scope))
            .filter(|url| !self.reference.is_tls || url.starts_with("https://"))
    }

    /// Takes the token from a token server's answer.
    pub(crate) fn accept(&mut self, answer: &[u8]) -> Result<(), Trouble> {
        let value =
            token(answer).and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let mut value =
            value.ok_or_else(|| Trouble::server("the registry's token server gives no token"))?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(())
    }
}
