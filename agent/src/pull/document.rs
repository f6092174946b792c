//! A small document on a web server, such as a channel: fetched whole, within a limit.

use bundle::channel::Report;
use hyper::StatusCode;
use hyper::header::{ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, USER_AGENT};

use crate::config::Pull;
use crate::device::Device;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::pull::answer::{is_plain, refused};
use crate::pull::client::{Client, PRODUCT};
use crate::pull::pace::LowSpeed;
use crate::pull::patience::Patience;
use crate::pull::remote::runtime;
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

/// Fetches the document at `url`, of at most `limit` bytes. With `etag`, only if it is another one by now. The `report`
/// stands in the request's `User-Agent`.
///
/// # Errors
/// [`crate::Exit::Network`], [`crate::Exit::Server`] (also for one that is too long), [`crate::Exit::Config`],
/// [`crate::Exit::Usage`], or what `interrupt` says.
pub fn fetch(
    device: &Device,
    pull: &Pull,
    url: &str,
    limit: usize,
    etag: Option<&str>,
    report: Option<Report>,
    interrupt: &Interrupt,
) -> Result<Document, Failure> {
    let known = etag.and_then(|etag| HeaderValue::from_str(etag).ok()).map(|etag| (IF_NONE_MATCH, etag));
    let agent = report.and_then(|report| HeaderValue::from_str(&format!("{PRODUCT} {report}")).ok());
    let headers: Vec<_> = known.into_iter().chain(agent.map(|agent| (USER_AGENT, agent))).collect();
    let mut client = Client::new(device, pull, url, interrupt)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let mut patience = Patience::new(pull.tries);
        loop {
            match once(&mut client, pull, limit, &headers).await {
                Ok(document) => return Ok(document),
                Err(trouble) => {
                    let (wait, _) = patience.after(trouble)?;
                    client.sleep(wait).await?;
                }
            }
        }
    });
    runtime.shutdown_background();
    outcome.map_err(|trouble| client.failure(trouble))
}

async fn once(
    client: &mut Client<'_>,
    pull: &Pull,
    limit: usize,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Document, Trouble> {
    let mut connection = None;
    let response = client.ask(&mut connection, headers).await?;
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
    let mut body = response.into_body();
    let mut speed = LowSpeed::new(pull.low_speed_bytes_per_s, pull.low_speed);
    let mut bytes = Vec::new();
    loop {
        let Some(data) = client.receive(&mut body, &mut speed).await? else {
            return Ok(Document::Is { bytes, etag });
        };
        if bytes.len() + data.len() > limit {
            return Err(Trouble::server(format!("the document is longer than {limit} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
}
