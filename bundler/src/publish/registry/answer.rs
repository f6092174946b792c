//! Reads the answers of a registry: small bodies, redirects, and why an answer is missing.
//!
//! `client` sends the requests. The caller sets a limit of length before a body is read.

use std::io::Read;

use ureq::Body;
use ureq::http::header::LOCATION;
use ureq::http::{HeaderMap, Response};

use crate::publish::registry::error::{RegistryError, quoted};

/// Returns the whole body, which may have at most `limit` bytes.
pub(crate) fn read_small(response: Response<Body>, limit: usize) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let body = response.into_body().into_reader();
    body.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| broke_off(&error))?;
    if bytes.len() > limit {
        return Err(RegistryError::Server(format!(
            "the registry sends more than {limit} bytes, the limit for this answer"
        )));
    }
    Ok(bytes)
}

/// The error of a body that ended too early.
pub(crate) fn broke_off(error: &std::io::Error) -> RegistryError {
    RegistryError::Network(format!("the transfer broke off: {error}"))
}

/// Returns the address that a redirect or an upload leads to.
pub(crate) fn location(url: &str, headers: &HeaderMap) -> Result<String, RegistryError> {
    let wrong =
        || RegistryError::Server("the registry leads to an address that cannot be used".to_owned());
    let text = headers.get(LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
    if text.starts_with('/') && !text.starts_with("//") {
        return Ok(format!("{}{text}", origin(url).ok_or_else(wrong)?));
    }
    origin(text).ok_or_else(wrong)?;
    Ok(text.to_owned())
}

/// Returns scheme, host and port of an address.
pub(crate) fn origin(url: &str) -> Option<&str> {
    let start = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme))?.len();
    let length = url[start..].find(['/', '?', '#']).unwrap_or(url.len() - start);
    (length > 0).then(|| &url[..start + length])
}

/// The error of a request that got no answer.
pub(crate) fn broken(error: &ureq::Error) -> RegistryError {
    match error {
        ureq::Error::Timeout(what) => {
            RegistryError::Network(format!("the registry does not answer in time ({what})"))
        }
        ureq::Error::RequireHttpsOnly(_) => RegistryError::Server(
            "the registry leads from https to http, which anybody on the way could change"
                .to_owned(),
        ),
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => RegistryError::Server(
            format!("the registry's answer cannot be used: {}", quoted(&error.to_string())),
        ),
        other => RegistryError::Network(format!(
            "the registry cannot be reached: {}",
            quoted(&other.to_string())
        )),
    }
}
