//! Bundles and channels in an OCI registry: from a tag to the blob that it stands for, and the
//! token that a registry may want to see. The bytes of the blob are then fetched as from any web
//! server.

use bundle::Sha256;
use bundle::limits;
use bundle::oci::{Artifact, Challenge, MANIFEST_TYPE, Reference, token};
use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};

use crate::config::Pull;
use crate::exit::{Exit, Failure};
use crate::pull::client::http::Client;
use crate::pull::document::{Document, get};
use crate::pull::trouble::Trouble;

/// Most bytes of a token server's answer.
pub(crate) const TOKEN: usize = 64 << 10;

/// The registry that a [`Client`] asks.
#[derive(Debug)]
pub(crate) struct Registry {
    reference: Reference,
    /// What it wants to see, once it has said so.
    pub(crate) token: Option<HeaderValue>,
}

impl Registry {
    /// # Errors
    /// [`Exit::Usage`]: that is no address of an artifact.
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

    /// The address of the manifest, with the login.
    pub(crate) fn manifest_url(&self) -> String {
        let url = self.reference.tag.as_ref().map(|tag| self.reference.manifest_url(tag));
        self.with_login(url.unwrap_or_default())
    }

    fn blob_url(&self, artifact: &Artifact) -> String {
        self.with_login(self.reference.blob_url(&artifact.digest))
    }

    fn with_login(&self, url: String) -> String {
        match &self.reference.login {
            Some(login) => url.replacen("://", &format!("://{login}@"), 1),
            None => url,
        }
    }

    /// For people, without the login.
    pub(crate) fn shown(&self) -> String {
        self.reference.to_string()
    }

    /// Where to ask for a token after this refusal; `None`: a token is not what is missing.
    pub(crate) fn token_url(&self, headers: &HeaderMap) -> Option<String> {
        let scope = format!("repository:{}:pull", self.reference.name);
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let mut challenges = values.filter_map(|value| Challenge::parse(value.to_str().ok()?));
        // A password is sent by https only, where the registry is asked so.
        challenges
            .find_map(|challenge| challenge.token_url(&scope))
            .filter(|url| !self.reference.is_tls || url.starts_with("https://"))
    }

    /// Takes a token server's answer.
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

/// What the tag of `client` stands for; from then on the client asks for its blob. `None`: there is
/// no such tag. With `etag`, `Unchanged` if it is the same as then.
pub(crate) async fn resolve(
    client: &mut Client<'_>,
    pull: &Pull,
    etag: Option<&str>,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Resolved, Trouble> {
    let accept = (ACCEPT, HeaderValue::from_static(MANIFEST_TYPE));
    let headers = [&[accept], headers].concat();
    let (manifest, etag) = match get(client, pull, limits::OCI_MANIFEST, etag, &headers).await? {
        Document::Is { bytes, etag } => (bytes, etag),
        Document::Unchanged => return Ok(Resolved::Unchanged),
        Document::Missing => return Ok(Resolved::Missing),
    };
    let artifact = Artifact::parse(&manifest).map_err(Trouble::server)?;
    if let Some(url) = client.registry.as_ref().map(|registry| registry.blob_url(&artifact)) {
        client.turn_to(&url)?;
    }
    Ok(Resolved::Is(artifact, etag))
}

/// What a tag stands for.
pub(crate) enum Resolved {
    /// This, and the ETag of its manifest.
    Is(Artifact, Option<String>),
    Unchanged,
    Missing,
}

/// The document that the tag of `client` stands for, of at most `limit` bytes.
pub(crate) async fn document(
    client: &mut Client<'_>,
    pull: &Pull,
    limit: usize,
    etag: Option<&str>,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Document, Trouble> {
    let (artifact, etag) = match resolve(client, pull, etag, headers).await? {
        Resolved::Is(artifact, etag) => (artifact, etag),
        Resolved::Unchanged => return Ok(Document::Unchanged),
        Resolved::Missing => return Ok(Document::Missing),
    };
    if !artifact.kind.is_document() || artifact.size > limit as u64 {
        return Err(Trouble::server(format!(
            "the tag stands for something else than a document of at most {limit} bytes; is the \
                repository right?"
        )));
    }
    match get(client, pull, limit, None, &[]).await? {
        // Its signatures decide; but a blob that the registry has damaged should be called that.
        Document::Is { bytes, .. } if Sha256::of(&bytes) != artifact.digest => {
            Err(Trouble::server(
                "the registry's blob is not what its manifest's digest says; push it again",
            ))
        }
        Document::Is { bytes, .. } => Ok(Document::Is { bytes, etag }),
        Document::Unchanged | Document::Missing => {
            Err(Trouble::server("the registry has a manifest and not its blob; push it again"))
        }
    }
}
