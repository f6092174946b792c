//! An address in a registry.
//!
//! `tag` names the file in the registry. This file never prints the password of an address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::Sha256;
use crate::oci::error::OciError;
use crate::oci::tag::Tag;

/// Most characters of an address.
const LENGTH: usize = 1024;
/// Most characters of a repository's name (OCI distribution specification).
const NAME: usize = 255;

/// `oci://[USER:PASSWORD@]HOST[:PORT]/NAME[:TAG]`, or `oci+http://…` for a registry without TLS.
///
/// A registry on this very machine (`localhost`, `127.0.0.1`, `[::1]`) is always asked without TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Reference {
    /// Clients ask the registry by HTTPS.
    pub is_tls: bool,
    /// `USER:PASSWORD`, escaped as in any URL.
    pub login: Option<String>,
    /// The host, with the port if one was given.
    pub host: String,
    /// The repository's name.
    pub name: String,
    /// The tag of the artifact, if one was given.
    pub tag: Option<Tag>,
}

/// Returns true if `text` is meant to be an address in a registry.
#[must_use]
pub fn is_oci(text: &str) -> bool {
    text.starts_with("oci://") || text.starts_with("oci+http://")
}

/// Returns the address of a file of a repository. The file lies below `folder`, or in a registry
/// under the tag of its path.
#[must_use]
pub fn beside(folder: &str, path: &str) -> String {
    match Tag::of_path(path) {
        Ok(tag) if is_oci(folder) => format!("{}:{tag}", folder.trim_end_matches('/')),
        // A path without a tag is no address in a registry either. A request for such an address
        // says so.
        _ => format!("{}/{path}", folder.trim_end_matches('/')),
    }
}

impl Reference {
    /// Returns the URL of a request to the registry: `https://HOST/v2/NAME/` and `rest`, without
    /// the login.
    #[must_use]
    pub fn url(&self, rest: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}/v2/{}/{rest}", self.host, self.name)
    }

    /// Returns the address of a blob.
    #[must_use]
    pub fn blob_url(&self, digest: &Sha256) -> String {
        self.url(&format!("blobs/sha256:{digest}"))
    }

    /// Returns the address of the manifest of `tag`.
    #[must_use]
    pub fn manifest_url(&self, tag: &Tag) -> String {
        self.url(&format!("manifests/{tag}"))
    }

    /// Returns the address of the repository.
    #[must_use]
    pub fn without_tag(&self) -> Self {
        Self { tag: None, ..self.clone() }
    }

    /// Returns the address of the artifact `tag` beside this one.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self { tag: Some(tag), ..self.clone() }
    }
}

impl FromStr for Reference {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        let wrong = OciError::Reference;
        if text.len() > LENGTH {
            return Err(wrong("the address is longer than 1024 characters"));
        }
        let (is_tls, rest) = if let Some(rest) = text.strip_prefix("oci://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("oci+http://") {
            (false, rest)
        } else {
            return Err(wrong("the address begins neither with oci:// nor with oci+http://"));
        };
        let (authority, path) =
            rest.split_once('/').ok_or(wrong("the address names no repository behind the host"))?;
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        if login.is_some_and(|login| {
            !login.contains(':') || !login.bytes().all(|c| c.is_ascii_graphic())
        }) {
            return Err(wrong(
                "the text in front of the @ is not USER:PASSWORD, escaped as in a URL",
            ));
        }
        let name_of_host = host_name(host).ok_or(wrong("the host or the port is not valid"))?;
        // The tag begins at the last colon, because a repository's name has no colon.
        let (name, tag) = match path.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag.parse()?)),
            None => (path.trim_end_matches('/'), None),
        };
        if !is_name(name) {
            return Err(wrong(
                "the repository's name is not of a-z 0-9, with single . _ - or / between them",
            ));
        }
        Ok(Self {
            is_tls: is_tls && !is_here(name_of_host),
            login: login.map(str::to_owned),
            host: host.to_owned(),
            name: name.to_owned(),
            tag,
        })
    }
}

/// Returns the host of `HOST[:PORT]`, without brackets, if host and port are well formed.
fn host_name(text: &str) -> Option<&str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = |c: u8| c.is_ascii_alphanumeric() || b".-:_".contains(&c);
    let is_port =
        |port: &str| port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (!host.is_empty() && host.bytes().all(is_host) && port.is_none_or(is_port)).then_some(host)
}

/// Returns true if `host` is the machine that this program runs on.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns true for `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` between slashes (OCI distribution
/// specification).
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let separators =
            part.split(|c: char| c.is_ascii() && is_word(c as u8)).filter(|s| !s.is_empty());
        part.bytes().next().is_some_and(is_word)
            && part.bytes().last().is_some_and(is_word)
            && separators
                .into_iter()
                .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|c| c == b'-'))
    };
    name.len() <= NAME && name.split('/').all(is_part)
}

/// Writes the address for people, without the login.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls || host_name(&self.host).is_some_and(is_here) {
            "oci"
        } else {
            "oci+http"
        };
        write!(f, "{scheme}://{}/{}", self.host, self.name)?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_says_host_repository_and_artifact() {
        for (text, url) in [
            ("oci://example.org/fleet/routers", "https://example.org/v2/fleet/routers/"),
            ("oci://example.org:5000/a", "https://example.org:5000/v2/a/"),
            ("oci+http://example.org/a", "http://example.org/v2/a/"),
            ("oci://127.0.0.1:5000/a/", "http://127.0.0.1:5000/v2/a/"),
            ("oci://[::1]:5000/a_b/c--d", "http://[::1]:5000/v2/a_b/c--d/"),
            ("oci://localhost/a", "http://localhost/v2/a/"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.url("").as_str(), &reference.tag), (url, &None), "{text}");
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
        let reference: Reference = "oci://me:s%3a@example.org/a/b:bundles__x".parse().unwrap();
        assert_eq!(reference.to_string(), "oci://example.org/a/b:bundles__x");
        assert_eq!(reference.login.as_deref(), Some("me:s%3a"));
        assert_eq!(reference.tag.unwrap().path().unwrap(), "bundles/x");
    }

    #[test]
    fn what_is_no_address_in_a_registry_is_refused() {
        for text in [
            "",
            "example.org/a",
            "https://example.org/a",
            "oci://",
            "oci://example.org",
            "oci://example.org/",
            "oci:///a",
            "oci://example.org:/a",
            "oci://example.org:99999/a",
            "oci://example.org:+5/a",
            "oci://[::1/a",
            "oci://[::1]5/a",
            "oci://a b/c",
            "oci://example.org/A",
            "oci://example.org/a//b",
            "oci://example.org/../b",
            "oci://example.org/a..b",
            "oci://example.org/a___b",
            "oci://example.org/-a",
            "oci://example.org/a?b",
            "oci://example.org/a:",
            "oci://example.org/a:.x",
            "oci://example.org/a:x/y",
            "oci://example.org/a@sha256:00",
            "oci://me@example.org/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_beside_another_is_a_tag_in_a_registry_and_a_path_elsewhere() {
        assert_eq!(
            beside("https://example.org/d/", "bundles/a"),
            "https://example.org/d/bundles/a"
        );
        assert_eq!(beside("oci://example.org/d/", "bundles/a"), "oci://example.org/d:bundles__a");
        assert_eq!(beside("/media/d", "root.json"), "/media/d/root.json");
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(oci(\\+http)?://)?.{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again, Reference { login: None, ..reference });
            }
        }
    }
}
