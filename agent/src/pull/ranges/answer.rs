//! Checks the answer to a range request before any byte of it is taken.
//!
//! `client::status` knows answers that are refusals. Every answer must belong to the file that was
//! opened: size, ETag and date may not change.

use std::ops::Range;

use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};

use crate::pull::client::status::{is_plain, refused, text};
use crate::pull::trouble::Trouble;

/// The version of the file that was opened. All answers must be about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    /// Bytes of the whole file.
    pub(crate) size: u64,
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Version {
    /// Returns the value of an `If-Range` header. Only an exact one will do (RFC 9110, section
    /// 13.1.5).
    pub(crate) fn if_range(&self) -> Option<&HeaderValue> {
        match &self.etag {
            Some(etag) if etag.as_bytes().starts_with(b"\"") => Some(etag),
            _ => self.modified.as_ref(),
        }
    }

    fn is_other_than(&self, other: &Self) -> bool {
        if self.size != other.size {
            return true;
        }
        match (&self.etag, &other.etag) {
            (Some(ours), Some(theirs)) => ours != theirs,
            _ => {
                let dates = (&self.modified, &other.modified);
                matches!(dates, (Some(ours), Some(theirs)) if ours != theirs)
            }
        }
    }
}

/// The range that a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// As many of the last bytes.
    Last(u64),
    /// This range.
    Range(Range<u64>),
}

impl Asked {
    /// Returns the value of the header `Range`.
    pub(crate) fn header(&self) -> String {
        match self {
            Self::Last(count) => format!("bytes=-{count}"),
            Self::Range(range) => format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
        }
    }
}

/// Checks the head of an answer. Returns the version of its file and the range that follows.
pub(crate) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    asked: &Asked,
    known: Option<&Version>,
) -> Result<(Version, Range<u64>), Trouble> {
    match status {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::OK => {
            return Err(match known {
                Some(known) if known.if_range().is_some() => changed(),
                _ => Trouble::server(
                    "the server does not serve ranges; it must answer 206 (Partial Content) to a \
                        range request",
                ),
            });
        }
        StatusCode::RANGE_NOT_SATISFIABLE if known.is_some() => return Err(changed()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(Trouble::server(
                "the server has no such range (416): the file is empty, or the server cannot serve \
                    the end of a file",
            ));
        }
        other => return Err(refused(other, headers)),
    }
    is_plain(headers)?;
    let lies =
        |what: String| Trouble::server(format!("the server's answer cannot be used: {what}"));
    let (range, size) = text(headers, &CONTENT_RANGE)
        .and_then(content_range)
        .ok_or_else(|| lies("a 206 (Partial Content) without a usable Content-Range".to_owned()))?;
    let version = Version {
        size,
        etag: headers.get(ETAG).cloned(),
        modified: headers.get(LAST_MODIFIED).cloned(),
    };
    if known.is_some_and(|known| known.is_other_than(&version)) {
        return Err(changed());
    }
    let wanted = match asked {
        Asked::Last(count) => size.saturating_sub(*count)..size,
        Asked::Range(range) => range.clone(),
    };
    if range != wanted {
        let (start, last) = (wanted.start, wanted.end.saturating_sub(1));
        let got = format!("{}-{}", range.start, range.end - 1);
        return Err(lies(format!(
            "the request was for the bytes {start}-{last} and the answer has {got}"
        )));
    }
    let length = range.end - range.start;
    match headers
        .get(CONTENT_LENGTH)
        .map(|_| text(headers, &CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok()))
    {
        None => {}
        Some(Some(said)) if said == length => {}
        Some(_) => {
            return Err(lies("Content-Length and Content-Range contradict each other".to_owned()));
        }
    }
    Ok((version, range))
}

fn changed() -> Trouble {
    Trouble::server(
        "the file on the server has changed since this install began; start the install again",
    )
}

/// Parses `bytes 0-99/1000`: the range and the size of the file.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (start, last, size) = (number(start)?, number(last)?, number(size)?);
    (start <= last && last < size).then(|| (start..last + 1, size))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_content_range_is_two_places_and_a_size_and_nothing_else() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((0..100, 1000)));
        for wrong in [
            "",
            "0-99/1000",
            "bytes 0-99/*",
            "bytes */1000",
            "bytes 99-0/1000",
            "bytes 0-1000/1000",
            "bytes +0-99/1000",
            "bytes 0-99/18446744073709551616",
            "bytes 0-18446744073709551615/18446744073709551615",
        ] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn another_file_is_known_by_its_size_its_etag_or_its_date() {
        let asked = Asked::Range(0..10);
        let ok = [("content-range", "bytes 0-9/100"), ("etag", "\"a\""), ("last-modified", "x")];
        let (known, _) = check(StatusCode::PARTIAL_CONTENT, &headers(&ok), &asked, None).unwrap();
        assert_eq!(known.if_range().unwrap(), "\"a\"");
        for (index, value) in [(0, "bytes 0-9/101"), (1, "\"b\"")] {
            let mut other = ok;
            other[index].1 = value;
            let trouble =
                check(StatusCode::PARTIAL_CONTENT, &headers(&other), &asked, Some(&known))
                    .unwrap_err();
            assert!(format!("{trouble:?}").contains("has changed"), "{trouble:?}");
        }
        let mut dated = ok;
        dated[2].1 = "y";
        check(StatusCode::PARTIAL_CONTENT, &headers(&dated), &asked, Some(&known)).unwrap();
        let undated = [ok[0], ok[2]];
        let (known, _) =
            check(StatusCode::PARTIAL_CONTENT, &headers(&undated), &asked, None).unwrap();
        let trouble =
            check(StatusCode::PARTIAL_CONTENT, &headers(&[ok[0], dated[2]]), &asked, Some(&known))
                .unwrap_err();
        assert!(format!("{trouble:?}").contains("has changed"), "{trouble:?}");
    }

    proptest! {
        #[test]
        fn no_content_range_is_too_strange(text in "bytes [0-9*/-]{0,50}") {
            if let Some((range, size)) = content_range(&text) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
