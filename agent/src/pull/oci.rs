//! Finds the blob of a tag in an OCI registry, for bundles and channels.
//!
//! `client::registry` has the addresses and the token. `ranges/` or `document` fetches the blob
//! then, as from any web server.

use bundle::Sha256;
use bundle::limits;
use bundle::oci::{Artifact, MANIFEST_TYPE};
use hyper::header::{ACCEPT, HeaderName, HeaderValue};

use crate::config::Pull;
use crate::pull::client::http::Client;
use crate::pull::document::{Document, get};
use crate::pull::trouble::Trouble;

/// Resolves the tag of `client`. From then on the client asks for its blob. With `etag`,
/// `Unchanged` if the tag stands for the same as then.
async fn resolve(
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

/// The answer to a request for a tag.
enum Resolved {
    /// This artifact, and the ETag of its manifest.
    Is(Artifact, Option<String>),
    Unchanged,
    Missing,
}

/// Returns the size in bytes of the bundle that the tag of `client` stands for. `None`: it is no
/// registry.
pub(crate) async fn bundle(client: &mut Client<'_>, pull: &Pull) -> Result<Option<u64>, Trouble> {
    if client.registry.is_none() {
        return Ok(None);
    }
    match resolve(client, pull, None, &[]).await? {
        Resolved::Is(artifact, _) if !artifact.kind.is_document() => Ok(Some(artifact.size)),
        Resolved::Is(..) => {
            Err(Trouble::server("the tag stands for no bundle; is the address right?"))
        }
        _ => Err(Trouble::server("the registry has no such tag; is the address right?")),
    }
}

/// Returns the document that the tag of `client` stands for, of at most `limit` bytes.
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
            "the tag does not stand for a document of at most {limit} bytes; is the repository \
                right?"
        )));
    }
    match get(client, pull, limit, None, &[]).await? {
        // The signatures of the document decide. But a blob that the registry has damaged should be
        // called damaged.
        Document::Is { bytes, .. } if Sha256::of(&bytes) != artifact.digest => {
            Err(Trouble::server(
                "the registry's blob does not match the digest in its manifest; push the file \
                    again",
            ))
        }
        Document::Is { bytes, .. } => Ok(Document::Is { bytes, etag }),
        Document::Unchanged | Document::Missing => Err(Trouble::server(
            "the registry has a manifest and not its blob; push the file again",
        )),
    }
}
