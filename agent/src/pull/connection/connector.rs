//! Makes one connection to a server: TCP, perhaps a proxy, TLS, HTTP/2 or HTTP/1.1.
//!
//! `proxy` chooses the proxy, `tls` has the certificates, and `client::http` sends the requests.
//! The receive window is small, so that a killed install wastes few bytes.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::pull::connection::address::Address;
use crate::pull::connection::proxy::{Proxies, Proxy};
use crate::pull::connection::tls::{Tls, TlsFiles};
use crate::pull::trouble::Trouble;

/// Bytes per second that the receive window is to allow: its size is this times the delay.
const PER_SECOND: f64 = 4e6;
/// The smallest and the largest receive window, bytes. A killed install has fetched its window in
/// vain when the disk is slower than the link. Without a bound the kernel would let the window grow
/// to megabytes.
const WINDOW: std::ops::RangeInclusive<u32> = 32 << 10..=208 << 10;
/// Most bytes of an answer's head, and of one piece of its body.
const BUFFER: usize = 16 << 10;
/// Most addresses of a name that are tried.
const ADDRESSES: usize = 8;
/// Time of the first address before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(300);

/// How connections are made.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) proxies: Proxies,
    pub(crate) tls_files: TlsFiles,
    pub(crate) timeout: Duration,
    /// Loaded when the first https address is asked, because loading the system's certificates
    /// takes time.
    pub(crate) tls: OnceLock<Tls>,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    to: Address,
    /// The proxy that the requests go to. It needs the whole address in each request, and its
    /// password.
    pub(crate) forward: Option<Proxy>,
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    /// With the task that drives the connection, and that knows why it ended.
    Http1(http1::SendRequest<Empty<Bytes>>, JoinHandle<hyper::Result<()>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Connector {
    /// Connects to the server of `address`. `is_own`: it is the named server, which may know who we
    /// are.
    pub(crate) async fn connect(
        &self,
        address: &Address,
        is_own: bool,
    ) -> Result<Connection, Trouble> {
        match tokio::time::timeout(self.timeout, self.connect_slowly(address, is_own)).await {
            Ok(result) => result,
            Err(_) => {
                Err(Trouble::passing(format!("no connection after {} s", self.timeout.as_secs())))
            }
        }
    }

    async fn connect_slowly(&self, address: &Address, is_own: bool) -> Result<Connection, Trouble> {
        let proxy = self.proxies.choose(address);
        let (mut stream, window) = match proxy {
            Some(proxy) => tcp(&proxy.host, proxy.port, "the proxy ").await?,
            None => tcp(&address.host, address.port, "").await?,
        };
        if !address.is_tls {
            let sender = http_1(TokioIo::new(stream)).await?;
            return Ok(Connection { to: address.clone(), forward: proxy.cloned(), sender });
        }
        if let Some(proxy) = proxy {
            tunnel(&mut stream, proxy, address).await?;
        }
        let tls = match self.tls.get() {
            Some(tls) => tls.clone(),
            None => {
                let tls = Tls::load(&self.tls_files)?;
                self.tls.get_or_init(|| tls).clone()
            }
        };
        let name = ServerName::try_from(address.host.clone())
            .map_err(|_| Trouble::server(format!("{:?} is no name of a host", address.host)))?;
        let config = if is_own { tls.own } else { tls.others };
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| Trouble::of_connection("greeting the server", &error))?;
        let is_http_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let sender =
            if is_http_2 { Sender::Http2(http_2(io, window).await?) } else { http_1(io).await? };
        Ok(Connection { to: address.clone(), forward: None, sender })
    }
}

impl Connection {
    /// Returns true if a request for `address` may use this connection.
    pub(crate) fn leads_to(&self, address: &Address) -> bool {
        (self.to.is_tls, &self.to.host, self.to.port)
            == (address.is_tls, &address.host, address.port)
    }

    /// Returns true if several answers may be on their way at once. Then an answer that is not read
    /// to its end does no harm.
    pub(crate) fn is_http_2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Sends a request with a whole address, and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender, driver) => {
                let answer = match sender.ready().await {
                    Ok(()) => sender.send_request(request).await,
                    Err(error) => Err(error),
                };
                // A server that talks before it is asked ends the connection before the request.
                match answer {
                    Err(error) if error.is_closed() || error.is_canceled() => match driver.await {
                        Ok(Err(cause)) => Err(cause),
                        _ => Err(error),
                    },
                    answer => answer,
                }
            }
            Sender::Http2(sender) => {
                request.headers_mut().remove(hyper::header::HOST); // it is in the address
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

async fn http_1<T>(io: T) -> Result<Sender, Trouble>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .handshake(io)
        .await
        .map_err(|error| Trouble::of_connection("greeting the server", &error))?;
    Ok(Sender::Http1(sender, tokio::spawn(connection)))
}

async fn http_2<T>(io: T, window: u32) -> Result<http2::SendRequest<Empty<Bytes>>, Trouble>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_header_list_size(BUFFER as u32)
        .handshake(io)
        .await
        .map_err(|error| Trouble::of_connection("greeting the server", &error))?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

/// Connects to the first of the host's addresses that answers. Also returns the size of the receive
/// window.
async fn tcp(host: &str, port: u16, what: &str) -> Result<(TcpStream, u32), Trouble> {
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| Trouble::passing(format!("looking up {what}{host}: {error}")))?;
    let mut tries = JoinSet::new();
    for (index, address) in found.take(ADDRESSES).enumerate() {
        tries.spawn(async move {
            // Even a sleep of no length lasts until the next tick of the timer.
            if index > 0 {
                tokio::time::sleep(HEAD_START * index as u32).await;
            }
            tcp_to(address).await
        });
    }
    let mut trouble = Trouble::passing(format!("looking up {what}{host}: the name has no address"));
    while let Some(joined) = tries.join_next().await {
        match joined {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                trouble =
                    Trouble::passing(format!("connecting to {what}{host}, port {port}: {error}"));
            }
            Err(error) => {
                trouble = Trouble::passing(format!("connecting to {what}{host}: {error}"))
            }
        }
    }
    Err(trouble)
}

async fn tcp_to(address: SocketAddr) -> std::io::Result<(TcpStream, u32)> {
    let began = Instant::now();
    let stream = TcpStream::connect(address).await?;
    let window = (began.elapsed().as_secs_f64() * PER_SECOND) as u32;
    let window = window.clamp(*WINDOW.start(), *WINDOW.end());
    stream.set_nodelay(true)?;
    // The size is set only now. Set before, it would also limit what the two ends can agree on.
    setsockopt(&stream, sockopt::RcvBuf, &(window as usize))?;
    Ok((stream, window))
}

/// Makes the proxy lead the connection on to `address` (RFC 9110, section 9.3.6).
async fn tunnel(stream: &mut TcpStream, proxy: &Proxy, address: &Address) -> Result<(), Trouble> {
    let host = if address.host.contains(':') {
        format!("[{}]", address.host)
    } else {
        address.host.clone()
    };
    let place = format!("{host}:{}", address.port);
    let mut ask = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        ask.extend([b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
    }
    ask.extend(b"\r\n");
    let failed = |error: std::io::Error| Trouble::of_connection("asking the proxy", &error);
    stream.write_all(&ask).await.map_err(failed)?;
    let mut head = Vec::new();
    // Reads one byte at a time, because what follows the head belongs to the server.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= BUFFER {
            return Err(Trouble::server("the proxy's answer has no end"));
        }
        head.push(stream.read_u8().await.map_err(failed)?);
    }
    let line =
        String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default())
            .into_owned();
    let said = line.split_once(' ').map_or("", |(_, status)| status);
    match said.split(' ').next().and_then(|code| code.parse::<u16>().ok()) {
        Some(200..=299) if line.starts_with("HTTP/1.") => Ok(()),
        Some(407) => Err(Trouble::Lasting(
            crate::exit::Exit::Network,
            "the proxy asks for a password; put it into proxy of [pull]: \
                http://user:password@host:port"
                .to_owned(),
        )),
        Some(403..=405) => Err(Trouble::server(format!("the proxy refuses to connect: {said}"))),
        Some(_) => Err(Trouble::passing(format!("the proxy cannot connect: {said}"))),
        None => Err(Trouble::server("the configured proxy does not answer like a proxy")),
    }
}
