//! Chooses the proxy for an address.
//!
//! `connector` connects to it. The configuration comes before the environment.

use std::net::IpAddr;

use hyper::header::HeaderValue;

use crate::pull::connection::address::Address;

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authorization: Option<HeaderValue>,
}

/// The rule by which a proxy is chosen.
#[derive(Debug)]
pub(crate) enum Proxies {
    Direct,
    Always(Proxy),
    Environment { http: Option<Proxy>, https: Option<Proxy>, except: Vec<String> },
}

impl Proxies {
    /// Returns the rule of the key `proxy`, `configured`, or else of the environment, which
    /// `variable` reads.
    pub(crate) fn new(
        configured: Option<&str>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        match configured {
            Some("direct") => return Ok(Self::Direct),
            Some(text) => {
                return Proxy::parse(text)
                    .map(Self::Always)
                    .map_err(|why| format!("proxy of [pull]: {why}"));
            }
            None => {}
        }
        let first = |names: &[&str]| -> Result<Option<Proxy>, String> {
            let found = names.iter().find_map(|name| {
                variable(name)
                    .filter(|text| !text.trim().is_empty())
                    .map(|text| (name.to_owned(), text))
            });
            let Some((name, text)) = found else { return Ok(None) };
            Proxy::parse(text.trim())
                .map(Some)
                .map_err(|why| format!("the environment's {name}: {why}"))
        };
        // HTTP_PROXY in capitals is never taken: a web server gives it to its scripts from a header
        // of the request.
        let http = first(&["http_proxy", "all_proxy", "ALL_PROXY"])?;
        let https = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
        let except = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        let except = except.split(',').map(|entry| entry.trim().to_ascii_lowercase()).collect();
        Ok(Self::Environment { http, https, except })
    }

    /// Returns the proxy for `address`. `None`: it is asked directly.
    pub(crate) fn choose(&self, address: &Address) -> Option<&Proxy> {
        match self {
            Self::Direct => None,
            Self::Always(proxy) => Some(proxy),
            Self::Environment { except, .. }
                if except.iter().any(|entry| is_covered(entry, address)) =>
            {
                None
            }
            Self::Environment { http, https, .. } => {
                if address.is_tls { https } else { http }.as_ref()
            }
        }
    }
}

/// Returns true if an entry of `no_proxy` covers `address`. An entry is `*`, a domain with all
/// below it, an address, or a network (`10.0.0.0/8`).
fn is_covered(entry: &str, address: &Address) -> bool {
    if entry == "*" {
        return true;
    }
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        let plain = entry.trim_start_matches('[').trim_end_matches(']');
        let (network, length) = match plain.split_once('/') {
            Some((network, length)) => (network, length.parse::<u32>().ok()),
            None => (plain, Some(128)),
        };
        let Some((network, length)) = network.parse::<IpAddr>().ok().zip(length) else {
            return false;
        };
        return match (network, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let rest = 32_u32.saturating_sub(length);
                u32::from(a).checked_shr(rest) == u32::from(b).checked_shr(rest)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let rest = 128_u32.saturating_sub(length);
                u128::from(a).checked_shr(rest) == u128::from(b).checked_shr(rest)
            }
            _ => false,
        };
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (entry, None),
    };
    let name = name.trim_start_matches('*').trim_start_matches('.');
    let is_below = address
        .host
        .strip_suffix(name)
        .is_some_and(|front| front.is_empty() || front.ends_with('.'));
    !name.is_empty() && is_below && port.is_none_or(|port| port.parse() == Ok(address.port))
}

impl Proxy {
    /// Parses `http://[user:password@]host[:port]`. The scheme may be missing. The port is 1080 if
    /// none is given, as with curl.
    fn parse(text: &str) -> Result<Self, String> {
        let with_scheme =
            if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let address = Address::parse(&with_scheme)
            .map_err(|why| format!("not the address of a proxy: {why}"))?;
        if address.is_tls {
            return Err(
                "a proxy that is itself reached over https is not supported; give it as http://..."
                    .to_owned(),
            );
        }
        let authority = with_scheme.split('/').nth(2).unwrap_or_default();
        let has_port = authority.ends_with(&format!(":{}", address.port));
        let port = if has_port { address.port } else { 1080 };
        Ok(Self { host: address.host, port, authorization: address.authorization })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], address: &str) -> Option<(String, u16)> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let proxies = Proxies::new(None, &variable).unwrap();
        proxies
            .choose(&Address::parse(address).unwrap())
            .map(|proxy| (proxy.host.clone(), proxy.port))
    }

    #[test]
    fn the_environment_chooses_a_proxy_by_the_scheme() {
        let variables = [("http_proxy", "http://p:3128"), ("HTTPS_PROXY", "q:8080/")];
        assert_eq!(chosen(&variables, "http://x/"), Some(("p".into(), 3128)));
        assert_eq!(chosen(&variables, "https://x/"), Some(("q".into(), 8080)));
        assert_eq!(chosen(&[("HTTP_PROXY", "p:1")], "http://x/"), None);
        assert_eq!(
            chosen(&[("http_proxy", "http://u:80@p/x")], "http://x/"),
            Some(("p".into(), 1080))
        );
        assert_eq!(chosen(&[("http_proxy", "p:80/x")], "http://x/"), Some(("p".into(), 80)));
        assert_eq!(chosen(&[("all_proxy", "p")], "https://x/"), Some(("p".into(), 1080)));
    }

    #[test]
    fn what_no_proxy_names_is_asked_directly() {
        for (except, address, is_direct) in [
            ("*", "http://x/", true),
            ("example.org", "http://www.example.org/", true),
            (".example.org", "http://example.org/", true),
            ("example.org", "http://notexample.org/", false),
            ("example.org:81", "http://example.org/", false),
            ("10.0.0.0/8, ::1", "http://10.1.2.3/", true),
            ("10.0.0.0/8, ::1", "http://[::1]:9/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("127.0.0.1", "http://127.0.0.1:8080/", true),
            ("", "http://x/", false),
        ] {
            let variables = [("http_proxy", "p:1"), ("no_proxy", except)];
            assert_eq!(chosen(&variables, address).is_none(), is_direct, "{except} {address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_environment_is_too_strange(proxy in ".{0,40}", except in "[a-z0-9.:/*,\\[\\] \
            -]{0,40}") {
            let variable = |name: &str| {
                let value = if name == "no_proxy" { &except } else { &proxy };
                Some(value.clone())
            };
            for address in ["http://10.0.0.1/", "https://[fe80::1]/", "http://a.b/"] {
                if let Ok(proxies) = Proxies::new(None, &variable) {
                    let _ = proxies.choose(&Address::parse(address).unwrap());
                }
            }
        }
    }

    #[test]
    fn the_configuration_comes_before_the_environment() {
        let variable = |_: &str| Some("env:1".to_owned());
        let address = Address::parse("http://x/").unwrap();
        assert!(Proxies::new(Some("direct"), &variable).unwrap().choose(&address).is_none());
        let proxies = Proxies::new(Some("http://u:p@cfg:2"), &variable).unwrap();
        let proxy = proxies.choose(&address).unwrap();
        assert_eq!(
            (proxy.host.as_str(), proxy.port, proxy.authorization.is_some()),
            ("cfg", 2, true)
        );
        for wrong in ["https://x", "socks5://x", ""] {
            assert!(Proxies::new(Some(wrong), &variable).is_err(), "{wrong}");
        }
    }
}
