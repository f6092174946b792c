//! A web server for the tests that can also answer wrongly.
//!
//! `tls` makes its certificates. Each test gives a function that turns a request into an answer.
//! HTTP/1.1 is done with std::net, and HTTP/2 with hyper.

use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Number of the request, from 0 over all connections.
    pub(crate) number: usize,
    /// Number of the connection, from 0.
    pub(crate) connection: usize,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the range that the request asks for, in a file of `size` bytes.
    pub(crate) fn range(&self, size: usize) -> Option<Range<usize>> {
        let (from, to) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some(match (from.parse::<usize>(), to.parse::<usize>()) {
            (Err(_), Ok(last)) => size.saturating_sub(last)..size,
            (Ok(from), Ok(to)) => from..(to + 1).min(size),
            (Ok(from), Err(_)) => from..size,
            _ => return None,
        })
    }
}

/// The server's action after it has sent the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// It reads the next request.
    GoOn,
    /// It closes the connection in order.
    Close,
    /// It resets the connection.
    Reset,
    /// It sends nothing until the client goes away.
    Stall,
    /// It sends the rest of the body, a byte every 50 ms.
    Drip,
    /// It sends more and more bytes, as fast as the client takes them.
    Endless,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// The part of the body that was cut off.
    pub(crate) rest: Vec<u8>,
    pub(crate) then: Then,
}

impl Answer {
    pub(crate) fn of(status: &'static str) -> Self {
        Self {
            status,
            headers: vec![("Content-Length", "0".to_owned())],
            body: Vec::new(),
            rest: Vec::new(),
            then: Then::GoOn,
        }
    }

    pub(crate) fn to(location: impl ToString) -> Self {
        Self::of("302 Found").with("Location", location)
    }

    /// Answers a range request for `file` as an honest server does.
    pub(crate) fn honest(asked: &Asked, file: &[u8]) -> Self {
        let Some(range) = asked.range(file.len()) else {
            let answer = Self { body: file.to_vec(), ..Self::of("200 OK") };
            return answer.with("Content-Length", file.len());
        };
        let place = format!("bytes {}-{}/{}", range.start, range.end - 1, file.len());
        let answer = Self { body: file[range].to_vec(), ..Self::of("206 Partial Content") };
        let length = answer.body.len();
        answer.with("Content-Length", length).with("Content-Range", place).with("ETag", "\"one\"")
    }

    /// Sets this header, and removes a header of the same name.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self = self.without(name);
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    /// Sends at most `bytes` of the body. `then` follows.
    pub(crate) fn cut(mut self, bytes: usize, then: Then) -> Self {
        self.rest = self.body.split_off(bytes);
        self.then = then;
        self
    }
}

type Answers = dyn Fn(&Asked) -> Answer + Send + Sync;
/// Makes a stream of an accepted connection, such as one of TLS.
type Greeting = dyn Fn(TcpStream) -> io::Result<Box<dyn ReadWrite>> + Send + Sync;

/// A stream in both directions.
pub(crate) trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_over: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    sent: AtomicU64,
}

impl Server {
    pub(crate) fn start(answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with("http", |stream| Ok(Box::new(stream)), answers)
    }

    pub(crate) fn start_with(
        scheme: &'static str,
        greeting: impl Fn(TcpStream) -> io::Result<Box<dyn ReadWrite>> + Send + Sync + 'static,
        answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (shared, answers, greeting) = (state.clone(), Arc::new(answers), Arc::new(greeting));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                // With a small buffer, the client has nearly all bytes that were sent.
                setsockopt(&stream.as_fd(), sockopt::SndBuf, &(16 << 10)).unwrap();
                let (state, answers, greeting) =
                    (shared.clone(), answers.clone(), greeting.clone());
                // It is no error of the server if a client goes away.
                thread::spawn(move || serve(&stream, &*greeting, &*answers, &state).ok());
            }
        });
        Self { address, scheme, state }
    }

    /// Starts a server that speaks HTTP/2 over TLS with `config`. After an answer it always goes
    /// on.
    pub(crate) fn start_http_2(
        config: Arc<ServerConfig>,
        answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (shared, answers) = (state.clone(), Arc::new(answers));
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((tcp, _)) = listener.accept().await
                    && !shared.is_over.load(Ordering::SeqCst)
                {
                    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
                    let (state, answers, config) =
                        (shared.clone(), answers.clone(), config.clone());
                    tokio::spawn(async move {
                        let stream = TlsAcceptor::from(config).accept(tcp).await?;
                        let service = service_fn(move |request| {
                            std::future::ready(state.http_2(connection, &request, &*answers))
                        });
                        let server = http2::Builder::new(TokioExecutor::new());
                        server
                            .serve_connection(TokioIo::new(stream), service)
                            .await
                            .map_err(io::Error::other)
                    });
                }
            });
        });
        Self { address, scheme: "https", state }
    }

    /// Starts a server that serves `file` honestly.
    pub(crate) fn honest(file: Vec<u8>) -> Self {
        Self::start(move |asked| Answer::honest(asked, &file))
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}/new.daruma", self.scheme, self.port())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Returns the number of bytes of bodies that were handed to the network.
    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }
}

impl State {
    fn note(&self, connection: usize, (_, target, headers): Head) -> Asked {
        let mut all = self.asked.lock().unwrap();
        let number = all.len();
        all.push(Asked { number, connection, target, headers });
        all[number].clone()
    }

    fn http_2(
        &self,
        connection: usize,
        request: &Request<Incoming>,
        answers: &Answers,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let value = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let headers = request.headers().iter().map(|(name, text)| (name.to_string(), value(text)));
        let head = (request.method().to_string(), request.uri().to_string(), headers.collect());
        let answer = answers(&self.note(connection, head));
        let status: u16 = answer.status[..3].parse().unwrap();
        let mut response = Response::builder().status(status);
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        self.sent.fetch_add(answer.body.len() as u64, Ordering::SeqCst);
        Ok(response.body(Full::new(answer.body.into())).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(tcp: &TcpStream, greeting: &Greeting, answers: &Answers, state: &State) -> io::Result<()> {
    let connection = state.connections.fetch_add(1, Ordering::SeqCst);
    let mut stream = BufReader::new(greeting(tcp.try_clone()?)?);
    while let Some(head) = read_head(&mut stream)? {
        let asked = state.note(connection, head);
        let answer = answers(&asked);
        let mut head = format!("HTTP/1.1 {}\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let out = stream.get_mut();
        out.write_all(format!("{head}\r\n").as_bytes())?;
        for part in answer.body.chunks(16 << 10) {
            out.write_all(part)?;
            state.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
        }
        out.flush()?;
        match answer.then {
            Then::GoOn => {}
            Then::Close => return Ok(()),
            Then::Reset => {
                setsockopt(&tcp.as_fd(), sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
                return Ok(());
            }
            Then::Stall => return stream.read(&mut [0]).map(drop),
            Then::Endless => loop {
                out.write_all(&[7; 16 << 10])?;
            },
            Then::Drip => {
                for byte in answer.rest {
                    out.write_all(&[byte])?;
                    out.flush()?;
                    // The slow sending is what the test wants. The server waits for nothing here.
                    thread::sleep(std::time::Duration::from_millis(50));
                }
            }
        }
    }
    Ok(())
}

type Head = (String, String, Vec<(String, String)>);

/// Returns the head of a request, or `None` if the client is done.
pub(crate) fn read_head(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => return Ok(Some((method, target, headers))),
        }
    }
}
