//! Sends requests to a registry: login, redirects, time limits, and the meaning of refusals.
//!
//! `blobs` chooses the requests. A password never follows a redirect to another host.

use std::io::Read;
use std::time::Duration;

use bundle::oci::{Challenge, Reference, token};
use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use ureq::http::request::Builder;
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::{Agent, AsSendBody, Body, SendBody};

use crate::publish::registry::answer::{broken, location, origin, read_small};
use crate::publish::registry::credentials::{Credentials, VARIABLE};
use crate::publish::registry::error::{RegistryError, quoted};
use crate::publish::registry::tls::tls;

/// Longest wait for a connection, and for the beginning of an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// A transfer is given up after this time without a byte.
const IDLE: Duration = Duration::from_secs(30);
/// Slowest transfer on average, in bytes per second.
const SLOWEST: u64 = 4 << 10;
/// Most redirects that one request may take.
const REDIRECTS: usize = 5;
/// Most bytes of a token server's answer, and most bytes that are read of a refusal.
const SMALL: usize = 64 << 10;

/// The rights that this program asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Read only.
    Pull,
    /// Read and write.
    Push,
}

/// The body of a request.
pub(crate) enum Content<'a> {
    Nothing,
    /// Bytes, and their media type.
    Bytes(&'a [u8], &'static str),
    /// A stream of this many bytes.
    Stream(&'a mut dyn Read, u64),
}

/// One repository of a registry.
#[derive(Debug)]
pub struct Registry {
    pub(crate) at: Reference,
    rights: Rights,
    agent: Agent,
    credentials: Option<Credentials>,
    /// The `Authorization` header that the registry accepted last.
    authorization: Option<String>,
}

impl Registry {
    /// Prepares requests to `at`. This function sends nothing.
    ///
    /// # Errors
    /// The address has a password in it, or the credentials cannot be read.
    pub fn open(at: &Reference, rights: Rights) -> Result<Self, RegistryError> {
        if at.login.is_some() {
            return Err(RegistryError::Login(format!(
                "everybody on this machine can see a password in a command; put the password into \
                    ${VARIABLE}"
            )));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(at.is_tls)
            .max_redirects(0)
            .user_agent(concat!("daruma-bundler/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(ANSWER))
            .timeout_connect(Some(ANSWER))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(IDLE))
            .timeout_per_write(Some(IDLE));
        if at.is_tls {
            config = config.tls_config(tls()?);
        } else if at.to_string().starts_with("oci://") {
            // A registry on this machine is reached without a proxy.
            config = config.proxy(None);
        }
        let credentials = Credentials::find(&at.host)?;
        let agent = config.build().new_agent();
        Ok(Self { at: at.clone(), rights, agent, credentials, authorization: None })
    }

    /// Sends a request to an address of this registry, and follows the redirects of GET and HEAD.
    /// `length` is the largest size of the answer in bytes. The time limit follows from it.
    pub(crate) fn ask(
        &mut self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        mut content: Content<'_>,
        length: u64,
    ) -> Result<Response<Body>, RegistryError> {
        let (mut url, mut authorized) = (url.to_owned(), false);
        let mut redirects = 0;
        loop {
            let is_own = origin(&url) == origin(&self.at.url(""));
            let authorization = self.authorization.as_deref().filter(|_| is_own);
            let response = self.send(method, &url, authorization, headers, &mut content, length)?;
            let status = response.status().as_u16();
            let may_repeat = !matches!(content, Content::Stream(..));
            if status == 401 && is_own && !authorized && may_repeat {
                self.authorize(response.headers())?;
                authorized = true;
            } else if matches!(status, 301 | 302 | 303 | 307 | 308)
                && [Method::GET, Method::HEAD].contains(method)
            {
                redirects += 1;
                if redirects > REDIRECTS {
                    let line = format!(
                        "the registry redirects more than {REDIRECTS} times; the redirects seem to \
                            lead in a circle"
                    );
                    return Err(RegistryError::Server(line));
                }
                url = location(&url, response.headers())?;
            } else {
                return Ok(response);
            }
        }
    }

    fn send(
        &self,
        method: &Method,
        url: &str,
        authorization: Option<&str>,
        headers: &[(&str, &str)],
        content: &mut Content<'_>,
        length: u64,
    ) -> Result<Response<Body>, RegistryError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        // Each arm has a body of another type.
        match content {
            Content::Nothing if *method == Method::POST => self.run(request, &[][..], 0, length),
            Content::Nothing => self.run(request, (), 0, length),
            Content::Bytes(bytes, media_type) => self.run(
                request.header("content-type", *media_type),
                *bytes,
                bytes.len() as u64,
                length,
            ),
            Content::Stream(stream, size) => {
                let request = request.header("content-type", "application/octet-stream");
                let request = request.header("content-length", *size);
                self.run(request, SendBody::from_reader(stream), *size, length)
            }
        }
    }

    fn run(
        &self,
        request: Builder,
        body: impl AsSendBody,
        size: u64,
        length: u64,
    ) -> Result<Response<Body>, RegistryError> {
        let request =
            request.body(body).map_err(|error| RegistryError::Server(error.to_string()))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_send_body(Some(time(size)))
            .timeout_recv_body(Some(time(length)))
            .build();
        self.agent.run(request).map_err(|error| broken(&error))
    }

    /// Does what the challenge of a refusal asks for. The next request carries the credentials.
    fn authorize(&mut self, headers: &HeaderMap) -> Result<(), RegistryError> {
        let challenges: Vec<_> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .collect();
        let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
        let challenge = challenges.iter().find(is_bearer).or_else(|| challenges.first());
        self.authorization = Some(match challenge {
            None => {
                let line = "the registry wants a login that is neither Basic nor Bearer";
                return Err(RegistryError::Server(line.to_owned()));
            }
            Some(Challenge::Basic) => match &self.credentials {
                Some(credentials) => credentials.basic(),
                None => return Err(self.unknown()),
            },
            Some(bearer) => format!("Bearer {}", self.token(bearer)?),
        });
        Ok(())
    }

    fn token(&self, bearer: &Challenge) -> Result<String, RegistryError> {
        let rights = match self.rights {
            Rights::Pull => "pull",
            Rights::Push => "pull,push",
        };
        let scope = format!("repository:{}:{rights}", self.at.name);
        let url = bearer.token_url(&scope).unwrap_or_default();
        if origin(&url).is_none() || self.at.is_tls && !url.starts_with("https://") {
            let line = "the registry names a token server whose address cannot be used; a password \
                is sent by https only";
            return Err(RegistryError::Server(line.to_owned()));
        }
        let basic = self.credentials.as_ref().map(Credentials::basic);
        let response = self.send(
            &Method::GET,
            &url,
            basic.as_deref(),
            &[],
            &mut Content::Nothing,
            SMALL as u64,
        )?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 => return Err(self.unknown()),
            status => {
                return Err(RegistryError::Server(format!(
                    "the registry's token server answered {status}"
                )));
            }
        }
        token(&read_small(response, SMALL)?).ok_or_else(|| {
            RegistryError::Server("the registry's token server gives no token".to_owned())
        })
    }

    fn unknown(&self) -> RegistryError {
        RegistryError::Login(match self.credentials {
            Some(_) => "user and password are not right for this registry".to_owned(),
            None => format!(
                "the registry wants a login; set ${VARIABLE}=user:password, or run `docker login` \
                    without a credential helper"
            ),
        })
    }

    /// Returns the error for an answer that is not the expected one.
    pub(crate) fn refused(&self, response: Response<Body>) -> RegistryError {
        let status = response.status();
        match status.as_u16() {
            404 => return RegistryError::Missing,
            401 | 403 => return self.unknown(),
            _ => {}
        }
        let said = read_small(response, SMALL).ok().and_then(|body| {
            let error = serde_json::from_slice::<Value>(&body).ok()?.get("errors")?.get(0)?.clone();
            Some(format!(
                ": {} {}",
                quoted(error.get("code")?.as_str()?),
                quoted(error.get("message")?.as_str()?)
            ))
        });
        let line = format!("the registry answered {}{}", status.as_u16(), said.unwrap_or_default());
        match status.as_u16() {
            408 | 429 | 500..=599 => RegistryError::Network(line),
            _ => RegistryError::Server(line),
        }
    }
}

fn time(bytes: u64) -> Duration {
    ANSWER + Duration::from_secs(bytes / SLOWEST)
}
