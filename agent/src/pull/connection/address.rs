//! The address of a bundle: which parts of a URL are sent, shown and followed.
//!
//! `client::http` sends it and follows redirects. Passwords and queries may be secret, so no
//! message shows them.

use std::fmt;

use base64ct::{Base64, Encoding};
use hyper::Uri;
use hyper::header::HeaderValue;

/// Most bytes of an address.
const LENGTH: usize = 4096;

/// An `http://` or `https://` address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    pub(crate) is_tls: bool,
    /// Name or IP address, in lower case, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, beginning with `/`.
    pub(crate) path: String,
    /// The header value of `user:password@`, as it is sent.
    pub(crate) authorization: Option<HeaderValue>,
}

impl Address {
    /// Parses `text`. The error says what is wrong without repeating the text.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > LENGTH {
            return Err("the address is longer than 4096 bytes");
        }
        // The part behind a # is for browsers.
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = text.parse().map_err(
            |_| "the address is not a URL (other characters than ASCII must be escaped)",
        )?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("the address begins neither with http:// nor with https://"),
        };
        let authority = uri.authority().ok_or("the address has no host")?;
        let host =
            authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err("the address has no host");
        }
        let server =
            authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, server)| server);
        let behind = server.strip_prefix(authority.host()).unwrap_or_default();
        let port = match behind.strip_prefix(':') {
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or("the port is not a number from 1 to 65535")?,
            None if is_tls => 443,
            None => 80,
        };
        let authorization = match authority.as_str().rsplit_once('@') {
            Some((login, _)) => Some(basic(login)?),
            None => None,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_tls, host, port, path, authorization })
    }

    /// Returns the address that a `Location` header leads to from here (RFC 3986, section 5,
    /// without the parts that no server sends).
    pub(crate) fn join(&self, location: &str) -> Result<Self, &'static str> {
        let scheme = if self.is_tls { "https" } else { "http" };
        if location.contains("://")
            && location.split("://").next().is_some_and(|s| !s.contains(['/', '?']))
        {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = self.path.split('?').next().unwrap_or("/");
        let joined = match location.as_bytes().first() {
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            _ => format!("{}{location}", &path[..=path.rfind('/').unwrap_or(0)]),
        };
        let mut next = Self::parse(&format!("{scheme}://{}{joined}", self.authority()))?;
        next.authorization = self.authorization.clone();
        Ok(next)
    }

    /// Host and port as in a `Host` header.
    pub(crate) fn authority(&self) -> String {
        let default = if self.is_tls { 443 } else { 80 };
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Returns true if `other` is on the same server. Then credentials may be shown again.
    pub(crate) fn is_same_server(&self, other: &Self) -> bool {
        let is_upgrade =
            (self.is_tls, self.port, other.is_tls, other.port) == (false, 80, true, 443);
        self.host == other.host
            && (is_upgrade || (self.is_tls, self.port) == (other.is_tls, other.port))
    }
}

/// Returns the value of an `Authorization: Basic` header for the `user:password` of a URL.
fn basic(login: &str) -> Result<HeaderValue, &'static str> {
    const WRONG: &str = "user name or password is wrongly escaped";
    let mut bytes = Vec::new();
    let mut rest = login.bytes();
    while let Some(byte) = rest.next() {
        let mut escaped = || -> Option<u8> {
            let digits =
                [char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?];
            u8::try_from(digits[0] * 16 + digits[1]).ok()
        };
        bytes.push(if byte == b'%' { escaped().ok_or(WRONG)? } else { byte });
    }
    let mut value = HeaderValue::from_str(&format!("Basic {}", Base64::encode_string(&bytes)))
        .map_err(|_| WRONG)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The address for people, without password and query, which may be secret.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let (path, query) =
            self.path.split_once('?').map_or((self.path.as_str(), ""), |(path, _)| (path, "?..."));
        write!(f, "{scheme}://{}{path}{query}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_shows_neither_password_nor_query() {
        let address =
            Address::parse("https://me:s%3acret@Example.org:8443/a/b.daruma?token=x#top").unwrap();
        assert_eq!(address.to_string(), "https://example.org:8443/a/b.daruma?...");
        assert_eq!(address.path, "/a/b.daruma?token=x");
        assert_eq!(address.authorization.unwrap(), "Basic bWU6czpjcmV0");
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for text in [
            "",
            "ftp://x/y",
            "http://",
            "http:///x",
            "file:///x",
            "http://x:/y",
            "http://x:99999/",
            "http://x:0/",
            "http://u@x:/",
            "http://%zz@x/",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_location_is_taken_from_where_it_was_said() {
        let here = Address::parse("http://u:p@[::1]:8080/a/b?c").unwrap();
        for (location, there) in [
            ("/x?y=http://z", "http://[::1]:8080/x?..."),
            ("x", "http://[::1]:8080/a/x"),
            ("?d", "http://[::1]:8080/a/b?..."),
            ("//other/x", "http://other/x"),
            ("https://other:444/x", "https://other:444/x"),
        ] {
            let next = here.join(location).unwrap();
            assert_eq!(next.to_string(), there);
            assert_eq!(next.authorization.is_some(), here.is_same_server(&next), "{location}");
        }
    }

    #[test]
    fn the_same_server_may_move_to_https_but_not_elsewhere() {
        let is_same = |a, b| Address::parse(a).unwrap().is_same_server(&Address::parse(b).unwrap());
        assert!(is_same("http://x/", "https://x/"));
        assert!(is_same("http://x:81/a", "http://X:81/b"));
        for other in ["http://y/", "http://x:81/", "https://x:444/"] {
            assert!(!is_same("http://x/", other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,60}", location in ".{0,60}") {
            let _ = Address::parse(&text);
            let _ = Address::parse("http://x/y").unwrap().join(&location);
        }
    }
}
