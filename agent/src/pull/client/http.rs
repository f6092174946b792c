//! A client that sends requests: headers, redirects, kept connections, tokens.
//!
//! `waiting` waits, `connection` connects, and `registry` knows tokens. Headers and certificates go
//! only to the server that was named, never to one that it redirects to.

use std::time::Duration;

use bundle::oci::is_oci;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};

use crate::config::Pull;
use crate::device::Device;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::pull::client::registry::{Registry, TOKEN};
use crate::pull::client::status::refused;
use crate::pull::client::waiting::{LOOK, Waiting};
use crate::pull::connection::address::Address;
use crate::pull::connection::connector::{Connection, Connector};
use crate::pull::connection::proxy::Proxies;
use crate::pull::connection::tls::TlsFiles;
use crate::pull::pace::LowSpeed;
use crate::pull::trouble::Trouble;

/// The name that it gives itself.
pub(crate) const PRODUCT: &str = concat!("daruma/", env!("CARGO_PKG_VERSION"));
/// Most redirects from one request.
const REDIRECTS: usize = 5;

/// A client for one address.
#[derive(Debug)]
pub(crate) struct Client<'i> {
    /// The address that was named.
    named: Address,
    /// The address where it was found last, after redirects.
    found: Address,
    /// The named address, for people.
    shown: String,
    /// The registry, if the address is in one.
    pub(crate) registry: Option<Registry>,
    connector: Connector,
    headers: HeaderMap,
    /// How long an answer may take.
    answer_time: Duration,
    pub(crate) waiting: Waiting<'i>,
    /// Requests that were sent.
    pub(crate) requests: u64,
}

impl<'i> Client<'i> {
    pub(crate) fn new(
        device: &Device,
        pull: &Pull,
        url: &str,
        interrupt: &'i Interrupt,
    ) -> Result<Self, Failure> {
        let wrong = |why: &dyn std::fmt::Display| Failure::new(Exit::Config, why);
        let registry = if is_oci(url) { Some(Registry::of(url)?) } else { None };
        let address = registry.as_ref().map_or_else(|| url.to_owned(), Registry::manifest_url);
        let named = Address::parse(&address).map_err(|why| {
            Failure::new(Exit::Usage, format!("understanding the address of the bundle: {why}"))
        })?;
        let shown = registry.as_ref().map_or_else(|| named.to_string(), Registry::shown);
        let proxies = Proxies::new(pull.proxy.as_deref(), &|name| std::env::var(name).ok())
            .map_err(|why| wrong(&format!("fetching {named}: {why}")))?;
        let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| device.path(path));
        let tls_files = TlsFiles {
            ca: path(&pull.ca_file),
            client_cert: path(&pull.client_cert),
            client_key: path(&pull.client_key),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &pull.headers {
            let name = HeaderName::try_from(name).map_err(|error| wrong(&error))?;
            let mut value = HeaderValue::try_from(value).map_err(|error| wrong(&error))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let connector = Connector {
            proxies,
            tls_files,
            timeout: pull.connect_timeout,
            tls: std::sync::OnceLock::new(),
        };
        let answer_time = pull.low_speed;
        let found = named.clone();
        Ok(Self {
            named,
            found,
            shown,
            registry,
            connector,
            headers,
            answer_time,
            waiting: Waiting::new(interrupt),
            requests: 0,
        })
    }

    /// Asks for `url` from now on. Messages keep the first address.
    pub(crate) fn turn_to(&mut self, url: &str) -> Result<(), Trouble> {
        self.named = Address::parse(url).map_err(Trouble::server)?;
        self.found = self.named.clone();
        Ok(())
    }

    /// Returns the named address, for people.
    pub(crate) fn address(&self) -> &str {
        &self.shown
    }

    /// Returns the line for `trouble` that ends everything.
    pub(crate) fn failure(&self, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Passing { cause, .. } => {
                Failure::new(Exit::Network, format!("fetching {}: {cause}", self.shown))
            }
            Trouble::Lasting(exit, cause) => {
                Failure::new(exit, format!("fetching {}: {cause}", self.shown))
            }
            Trouble::Stopped(failure) => failure,
        }
    }

    /// Sends a request with these headers besides the usual ones, and follows redirects. Returns
    /// the head of the answer. `kept` is the connection that may be used, and afterwards the one
    /// that is open.
    pub(crate) async fn ask(
        &mut self,
        kept: &mut Option<Connection>,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Incoming>, Trouble> {
        let response = self.follow(kept, headers).await?;
        let is_unknown = response.status() == StatusCode::UNAUTHORIZED && self.found == self.named;
        let registry = self.registry.as_ref().filter(|_| is_unknown);
        let Some(url) = registry.and_then(|registry| registry.token_url(response.headers())) else {
            return Ok(response);
        };
        // Nobody reads the rest of the refusal.
        *kept = None;
        self.get_token(&url).await?;
        self.follow(kept, headers).await
    }

    /// Asks a registry's token server. A token is good for some minutes, so this may happen in the
    /// middle of a bundle.
    async fn get_token(&mut self, url: &str) -> Result<(), Trouble> {
        let mut address = Address::parse(url).map_err(|why| {
            Trouble::server(format!(
                "the registry names a token server whose address cannot be used: {why}"
            ))
        })?;
        address.authorization.clone_from(&self.named.authorization);
        let is_own = self.named.is_same_server(&address);
        // The old token is of no use there either.
        if let Some(registry) = &mut self.registry {
            registry.token = None;
        }
        let mut connection = None;
        let response = self.ask_once(&mut connection, &address, is_own, &[]).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(response.status(), response.headers()));
        }
        let mut speed = LowSpeed::new(1, self.answer_time);
        let answer = self.waiting.receive_whole(response.into_body(), &mut speed, TOKEN).await?;
        self.registry.as_mut().map_or(Ok(()), |registry| registry.accept(&answer))
    }

    async fn follow(
        &mut self,
        kept: &mut Option<Connection>,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Incoming>, Trouble> {
        let mut address = self.found.clone();
        let mut is_own = self.named.is_same_server(&address);
        for _ in 0..=REDIRECTS {
            let response = self.ask_once(kept, &address, is_own, headers).await?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let is_refused =
                    status.is_client_error() && status != StatusCode::RANGE_NOT_SATISFIABLE;
                if is_refused && address == self.found && self.found != self.named {
                    // The place of a redirect may be good for some minutes only: ask the first
                    // server again.
                    self.found = self.named.clone();
                    let cause = format!(
                        "the server redirected to {address}, which answered {}",
                        status.as_u16()
                    );
                    return Err(Trouble::passing(cause));
                }
                self.found = address;
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let location =
                location.ok_or_else(|| Trouble::server("the server redirects to nowhere"))?;
            let next = address.join(location).map_err(|why| {
                Trouble::server(format!(
                    "the server redirects to an address that cannot be used: {why}"
                ))
            })?;
            if address.is_tls && !next.is_tls {
                return Err(Trouble::server(format!(
                    "the server redirects from https to {next}, which anybody on the way could \
                        change"
                )));
            }
            is_own = is_own && address.is_same_server(&next);
            // Nobody reads the body of a redirect.
            if !kept.as_ref().is_some_and(Connection::is_http_2) {
                *kept = None;
            }
            address = next;
        }
        Err(Trouble::server(format!(
            "the server redirects more than {REDIRECTS} times; the redirects seem to lead in a \
                circle"
        )))
    }

    async fn ask_once(
        &mut self,
        kept: &mut Option<Connection>,
        address: &Address,
        is_own: bool,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Incoming>, Trouble> {
        // The server may have closed the kept connection meanwhile. Then a new one is made at once.
        if let Some(mut connection) = kept.take().filter(|connection| connection.leads_to(address))
        {
            let request = self.request(&connection, address, is_own, headers)?;
            self.requests += 1;
            if let Ok(response) =
                self.waiting.wait(self.answer_time, connection.send(request)).await?
            {
                *kept = Some(connection);
                return Ok(response);
            }
        }
        let connecting = self.connector.connect(address, is_own);
        let longest = self.connector.timeout + LOOK;
        let mut connection = self.waiting.wait(longest, connecting).await??;
        let request = self.request(&connection, address, is_own, headers)?;
        self.requests += 1;
        let response =
            self.waiting.wait(self.answer_time, connection.send(request)).await?.map_err(
                |error| match error.is_parse() || is_unasked(&error) {
                    true => Trouble::server(format!("the server's answer is not HTTP: {error}")),
                    false => Trouble::of_connection("asking the server", &error),
                },
            )?;
        *kept = Some(connection);
        Ok(response)
    }

    fn request(
        &self,
        connection: &Connection,
        address: &Address,
        is_own: bool,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Request<Empty<Bytes>>, Trouble> {
        let scheme = if address.is_tls { "https" } else { "http" };
        let uri = if connection.is_http_2() || connection.forward.is_some() {
            format!("{scheme}://{}{}", address.authority(), address.path)
        } else {
            address.path.clone()
        };
        let mut request = Request::get(uri)
            .header(HOST, address.authority())
            .body(Empty::new())
            .map_err(|error| Trouble::server(format!("asking for {address}: {error}")))?;
        let all = request.headers_mut();
        all.insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
        all.insert(ACCEPT, HeaderValue::from_static("*/*"));
        all.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // A login in an address is for the server of that address.
        if let Some(authorization) = &address.authorization {
            all.insert(AUTHORIZATION, authorization.clone());
        }
        if is_own {
            all.extend(self.headers.clone());
        }
        if let Some(token) = self.registry.as_ref().and_then(|registry| registry.token.as_ref())
            && self.named.is_same_server(address)
        {
            all.insert(AUTHORIZATION, token.clone());
        }
        for (name, value) in headers {
            all.insert(name, value.clone());
        }
        if let Some(authorization) =
            connection.forward.as_ref().and_then(|proxy| proxy.authorization.clone())
        {
            all.insert(PROXY_AUTHORIZATION, authorization);
        }
        Ok(request)
    }
}

/// Returns true if the server talked before it was asked. hyper has no method for this error. The
/// error has no cause, and none of hyper's methods knows it. A request that the error cut off names
/// the error as its cause.
fn is_unasked(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    if let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<hyper::Error>()) {
        return is_unasked(cause);
    }
    cause.is_none()
        && !(error.is_canceled() || error.is_closed())
        && !(error.is_incomplete_message() || error.is_timeout() || error.is_user())
}
