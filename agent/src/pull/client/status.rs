//! Turns an answer that cannot be used into an error: a refusal, or a packed file.
//!
//! `ranges::answer` checks the answer to a range request. [`refused`] decides which status is worth
//! another try.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderName, RETRY_AFTER};

use crate::pull::trouble::Trouble;

/// Checks that the bytes are the file's own, and not packed on the way.
pub(crate) fn is_plain(headers: &HeaderMap) -> Result<(), Trouble> {
    for value in headers.get_all(CONTENT_ENCODING) {
        if !value.as_bytes().eq_ignore_ascii_case(b"identity") {
            let how: String = String::from_utf8_lossy(value.as_bytes()).chars().take(20).collect();
            return Err(Trouble::server(format!(
                "the server sends the file packed ({how}), though asked not to; switch packing off \
                    for *.daruma"
            )));
        }
    }
    Ok(())
}

/// Returns the trouble of a status that is no answer.
pub(crate) fn refused(status: StatusCode, headers: &HeaderMap) -> Trouble {
    let code = status.as_u16();
    let said = match status.canonical_reason() {
        Some(reason) => format!("the server answered {code} ({reason})"),
        None => format!("the server answered {code}"),
    };
    match code {
        408 | 425 | 429 | 500 | 502 | 503 | 504 => {
            let seconds = text(headers, &RETRY_AFTER).and_then(|text| text.trim().parse().ok());
            Trouble::Passing { cause: said, wait: seconds.map(Duration::from_secs) }
        }
        401 | 403 => {
            Trouble::server(format!("{said}; are headers and client-cert of [pull] right?"))
        }
        404 | 410 => Trouble::server(format!("{said}; is the address right?")),
        407 => Trouble::server(format!("{said}; put user and password into proxy of [pull]")),
        _ => Trouble::server(said),
    }
}

/// Returns the value of a header, if it is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
