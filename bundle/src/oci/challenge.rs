//! How a registry asks who a client is, and the token that its token server gives.
//!
//! The clients send the request for a token. The header is `WWW-Authenticate`, and it is hostile
//! until it is parsed.

use serde::Deserialize;

/// Most bytes of the header that this parser looks at.
const HEADER: usize = 4096;

/// What a registry wants to see from a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Challenge {
    /// The registry wants a user name and a password.
    Basic,
    /// The registry wants a token of a token server.
    Bearer {
        /// Address of the token server.
        realm: String,
        /// The registry's name, which the client tells the token server.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads the value of a `WWW-Authenticate` header (RFC 9110, section 11.6.1). Prefers a token
    /// to a password.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut rest = header.get(..header.len().min(HEADER))?;
        let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let length = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
            if length == 0 {
                return None;
            }
            let (word, behind) = rest.split_at(length);
            match (behind.strip_prefix('='), found.last_mut()) {
                (Some(behind), Some((_, parameters))) => {
                    let (value, behind) = value(behind)?;
                    parameters.push((word.to_ascii_lowercase(), value));
                    rest = behind;
                }
                (Some(_), None) => return None,
                (None, _) => {
                    found.push((word.to_ascii_lowercase(), Vec::new()));
                    rest = behind;
                }
            }
        }
        let bearer =
            found.iter().find(|(scheme, _)| scheme == "bearer").and_then(|(_, parameters)| {
                let of = |name: &str| {
                    parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
                };
                Some(Self::Bearer {
                    realm: of("realm")?,
                    service: of("service"),
                    scope: of("scope"),
                })
            });
        bearer.or_else(|| found.iter().any(|(scheme, _)| scheme == "basic").then_some(Self::Basic))
    }

    /// Returns the address to ask for a token. It uses `scope` if the registry named no scope.
    /// `None`: the registry needs no token.
    #[must_use]
    pub fn token_url(&self, scope: &str) -> Option<String> {
        let Self::Bearer { realm, service, scope: wanted } = self else { return None };
        let mut url = format!("{realm}{}", if realm.contains('?') { '&' } else { '?' });
        if let Some(service) = service {
            url.push_str(&format!("service={}&", escaped(service)));
        }
        url.push_str(&format!("scope={}", escaped(wanted.as_deref().unwrap_or(scope))));
        Some(url)
    }
}

/// Returns the token in a token server's answer. `None`: there is no token that a client can send.
#[must_use]
pub fn token(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let Answer { token, access_token } = serde_json::from_slice(answer).ok()?;
    token
        .or(access_token)
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// Reads a token or a quoted string. Returns it and the text that follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let length = text.find(|c: char| !is_token(c) && !"/:=".contains(c)).unwrap_or(text.len());
        return Some((text[..length].to_owned(), &text[length..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/,".contains(byte);
    text.bytes()
        .map(
            |byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_registrys_challenge_leads_to_its_token_server() {
        let header = concat!(
            r#"Bearer realm="https://auth.example.org/token?a=b",service="registry \"x\"","#,
            r#"scope="repository:fleet/routers:pull,push""#,
        );
        let challenge = Challenge::parse(header).unwrap();
        assert_eq!(
            challenge.token_url("unused").unwrap(),
            concat!(
                "https://auth.example.org/token?a=b&service=registry%20%22x%22",
                "&scope=repository:fleet/routers:pull,push"
            )
        );
        let bare = Challenge::parse("Bearer realm=https://a/t").unwrap();
        assert_eq!(
            bare.token_url("repository:x:pull").unwrap(),
            "https://a/t?scope=repository:x:pull"
        );
    }

    #[test]
    fn a_token_is_preferred_and_what_nobody_knows_is_passed_over() {
        assert_eq!(Challenge::parse("Basic realm=\"a, b\""), Some(Challenge::Basic));
        let both = Challenge::parse(r#"Negotiate, basic realm="x", BEARER Realm="https://a/""#);
        assert!(matches!(both, Some(Challenge::Bearer { realm, .. }) if realm == "https://a/"));
        for header in
            ["", "Negotiate", "Bearer service=\"x\"", "realm=\"x\"", "Bearer realm=\"x", "é"]
        {
            assert_eq!(Challenge::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_token_is_what_can_stand_in_a_header() {
        assert_eq!(token(br#"{"token":"abc","expires_in":300}"#).as_deref(), Some("abc"));
        assert_eq!(token(br#"{"access_token":"abc"}"#).as_deref(), Some("abc"));
        for answer in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\r\nb"}"#, r#"{"token":5}"#] {
            assert_eq!(token(answer.as_bytes()), None, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(
            header in r#"(Bearer|Basic)?[ ,=a-z"\\é]{0,40}|.{0,60}"#,
            answer in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = Challenge::parse(&header).and_then(|challenge| challenge.token_url("x"));
            let _ = token(&answer);
        }
    }
}
