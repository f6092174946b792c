//! Fetches a small document from a web server, or from a registry by its tag.
//!
//! `document` and `oci` do the work. The caller's thread waits for the result.

use hyper::header::{HeaderValue, USER_AGENT};

use crate::config::Pull;
use crate::device::Device;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::pull::client::http::{Client, PRODUCT};
use crate::pull::client::waiting::runtime;
use crate::pull::document::{Document, get};
use crate::pull::oci;

/// Fetches the document at `url`, of at most `limit` bytes. With `etag`, only if it has changed.
/// The words of `report` go into the `User-Agent` of the request.
///
/// # Errors
/// [`crate::Exit::Network`], [`crate::Exit::Server`] (also for a document that is too long),
/// [`crate::Exit::Config`], [`crate::Exit::Usage`], or what `interrupt` says.
pub fn fetch(
    device: &Device,
    pull: &Pull,
    url: &str,
    limit: usize,
    etag: Option<&str>,
    report: Option<&str>,
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
