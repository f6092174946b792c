//! Fetches a small document, such as a channel, in one piece.
//!
//! `fetch` chooses the client, and `oci` uses this file for a registry's documents. A document
//! above its limit is refused while it arrives.

use hyper::StatusCode;
use hyper::header::{ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};

use crate::config::Pull;
use crate::pull::client::http::Client;
use crate::pull::client::status::{is_plain, refused};
use crate::pull::pace::LowSpeed;
use crate::pull::patience::Patience;
use crate::pull::trouble::Trouble;

/// The answer to a request for a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Document {
    /// This document, of the version that `etag` names.
    Is {
        /// The document.
        bytes: Vec<u8>,
        /// For asking if it is still the same.
        etag: Option<String>,
    },
    /// The same document as with the given `etag`.
    Unchanged,
    /// Nothing (404 or 410).
    Missing,
}

/// Fetches the document that `client` asks for, with these headers besides; tries again where that
/// may help.
pub(crate) async fn get(
    client: &mut Client<'_>,
    pull: &Pull,
    limit: usize,
    etag: Option<&str>,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Document, Trouble> {
    let mut patience = Patience::new(pull.tries);
    loop {
        match once(client, pull, limit, etag, headers).await {
            Ok(document) => return Ok(document),
            Err(trouble) => {
                let (wait, _) = patience.after(trouble)?;
                client.waiting.sleep(wait).await?;
            }
        }
    }
}

async fn once(
    client: &mut Client<'_>,
    pull: &Pull,
    limit: usize,
    etag: Option<&str>,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Document, Trouble> {
    let mut connection = None;
    let known =
        etag.and_then(|etag| HeaderValue::from_str(etag).ok()).map(|etag| (IF_NONE_MATCH, etag));
    let headers: Vec<_> = headers.iter().cloned().chain(known).collect();
    let response = client.ask(&mut connection, &headers).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if headers.iter().any(|(name, _)| name == IF_NONE_MATCH) => {
            return Ok(Document::Unchanged);
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Document::Missing),
        other => return Err(refused(other, response.headers())),
    }
    is_plain(response.headers())?;
    let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let mut speed = LowSpeed::new(pull.low_speed_bytes_per_s, pull.low_speed);
    let bytes = client.waiting.receive_whole(response.into_body(), &mut speed, limit).await?;
    Ok(Document::Is { bytes, etag })
}
