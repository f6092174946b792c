//! A small document on a web server, such as a channel: fetched whole, within a limit.

use bundle::channel::Report;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, USER_AGENT};

use crate::config::Pull;
use crate::device::Device;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::pull::client::http::{Client, PRODUCT};
use crate::pull::oci;
use crate::pull::pace::LowSpeed;
use crate::pull::patience::Patience;
use crate::pull::ranges::answer::{is_plain, refused};
use crate::pull::ranges::remote::runtime;
use crate::pull::trouble::Trouble;

/// What is at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Document {
    /// This, of the version that `etag` names.
    Is {
        /// The document.
        bytes: Vec<u8>,
        /// For asking whether it is still the same.
        etag: Option<String>,
    },
    /// What it was when it had the given `etag`.
    Unchanged,
    /// Nothing (404 or 410).
    Missing,
}

/// Fetches the document at `url`, of at most `limit` bytes. With `etag`, only if it is another one
/// by now. The `report` stands in the request's `User-Agent`.
///
/// # Errors
/// [`crate::Exit::Network`], [`crate::Exit::Server`] (also for one that is too long),
/// [`crate::Exit::Config`], [`crate::Exit::Usage`], or what `interrupt` says.
pub fn fetch(
    device: &Device,
    pull: &Pull,
    url: &str,
    limit: usize,
    etag: Option<&str>,
    report: Option<Report>,
    interrupt: &Interrupt,
) -> Result<Document, Failure> {
    let report =
        report.and_then(|report| HeaderValue::from_str(&format!("{PRODUCT} {report}")).ok());
    let report: Vec<_> = report.map(|report| (USER_AGENT, report)).into_iter().collect();
    let mut client = Client::new(device, pull, url, interrupt)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        if client.registry.is_some() {
            oci::document(&mut client, pull, limit, etag, &report).await
        } else {
            get(&mut client, pull, limit, etag, &report).await
        }
    });
    runtime.shutdown_background();
    outcome.map_err(|trouble| client.failure(trouble))
}

/// The same for where `client` asks, with these headers besides; tries again where that may help.
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
                client.sleep(wait).await?;
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
    let bytes = read_whole(client, response.into_body(), &mut speed, limit).await?;
    Ok(Document::Is { bytes, etag })
}

/// All of `body`, of at most `limit` bytes.
pub(crate) async fn read_whole(
    client: &Client<'_>,
    mut body: Incoming,
    speed: &mut LowSpeed,
    limit: usize,
) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    loop {
        let Some(data) = client.receive(&mut body, speed).await? else {
            return Ok(bytes);
        };
        if bytes.len() + data.len() > limit {
            return Err(Trouble::server(format!("the document is longer than {limit} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
}
