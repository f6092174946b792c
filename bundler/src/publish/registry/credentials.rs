//! Finds the user and password for a registry.
//!
//! `client` sends them. The environment comes first, and the file of `docker login` second.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use base64ct::{Base64, Encoding};
use serde_json::Value;

use crate::publish::registry::error::RegistryError;

/// The environment variable with `user:password`.
pub(crate) const VARIABLE: &str = "DARUMA_REGISTRY_AUTH";
/// Most bytes of docker's configuration file.
const CONFIG: u64 = 1 << 20;

/// `user:password`. No message shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials(String);

impl Credentials {
    /// Reads `$DARUMA_REGISTRY_AUTH`, or else `auths` of docker's configuration. `docker login`
    /// writes there if no credential helper is set up.
    pub(crate) fn find(host: &str) -> Result<Option<Self>, RegistryError> {
        if let Some(value) = std::env::var_os(VARIABLE) {
            let login = value.into_string().ok().filter(|login| login.contains(':'));
            let wrong = || RegistryError::Login(format!("${VARIABLE} is not user:password"));
            return Ok(Some(Self(login.ok_or_else(wrong)?)));
        }
        let home = |name: &str| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(name));
        let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(|| home(".docker"));
        let Some(path) = dir.map(|dir| dir.join("config.json")) else { return Ok(None) };
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(CONFIG).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(RegistryError::Login(format!("reading {}: {error}", path.display())));
            }
        }
        Self::of_config(&text, host)
            .map_err(|why| RegistryError::Login(format!("reading {}: {why}", path.display())))
    }

    fn of_config(text: &[u8], host: &str) -> Result<Option<Self>, String> {
        let config: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let Some(auths) = config.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let bare = |key: &str| -> String {
            let key = key.trim_start_matches("https://").trim_start_matches("http://");
            key.split('/').next().unwrap_or_default().to_owned()
        };
        let entry = auths.iter().find(|(key, _)| bare(key) == host).map(|(_, entry)| entry);
        // An entry without `auth` belongs to a credential helper. This program asks no helper.
        let Some(auth) = entry.and_then(|entry| entry.get("auth")).and_then(Value::as_str) else {
            return Ok(None);
        };
        let login = Base64::decode_vec(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let login = login.filter(|login| login.contains(':'));
        login
            .map(|login| Some(Self(login)))
            .ok_or_else(|| format!("the auth of {host} is not user:password"))
    }

    /// Returns the value of an `Authorization` header.
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", Base64::encode_string(self.0.as_bytes()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_configuration_gives_the_login_of_the_host_and_of_no_other() {
        let config = concat!(
            r#"{"auths":{"https://example.org/v1/":{"auth":"bWU6czpjcmV0"},"helped.org":{}},"#,
            r#""credsStore":"x"}"#,
        )
        .as_bytes();
        let login = Credentials::of_config(config, "example.org").unwrap().unwrap();
        assert_eq!(
            (login.basic().as_str(), format!("{login:?}").as_str()),
            ("Basic bWU6czpjcmV0", "Credentials(…)")
        );
        for host in ["example.org:5000", "helped.org", "org", ""] {
            assert_eq!(Credentials::of_config(config, host), Ok(None), "{host}");
        }
        assert!(Credentials::of_config(b"{", "x").is_err());
        assert!(Credentials::of_config(br#"{"auths":{"x":{"auth":"!"}}}"#, "x").is_err());
    }
}
