//! A small web server to try a repository out.
//!
//! nginx or the like serves a real fleet. This server knows the files of one folder, ranges and
//! ETag.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

/// Most bytes of a request's head.
const HEAD: u64 = 16 << 10;
/// Most connections at once.
const CONNECTIONS: usize = 128;
/// A connection is closed after this time without a byte in either direction.
const IDLE: Duration = Duration::from_secs(30);

/// A server that is bound to its address.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    listener: TcpListener,
}

impl Server {
    /// Binds the address. Port 0 takes a free port.
    ///
    /// # Errors
    /// The folder does not exist, or the address is taken.
    pub fn bind(dir: &Path, listen: SocketAddr) -> Result<Self> {
        let dir = dir.canonicalize().with_context(|| format!("serving {}", dir.display()))?;
        let listener =
            TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
        Ok(Self { dir, listener })
    }

    /// Returns the address that the server listens on.
    ///
    /// # Errors
    /// An error of the operating system.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("asking for the server's address")
    }

    /// Serves for ever. `log` gets a line for each request.
    ///
    /// # Errors
    /// Connections cannot be accepted any more.
    pub fn run(&self, log: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let open = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for stream in self.listener.incoming() {
                let stream = stream.context("accepting a connection")?;
                if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                    open.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                scope.spawn(|| {
                    // An error here concerns only this client.
                    let _ = self.converse(stream, log);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Ok(())
        })
    }

    fn converse(&self, mut stream: TcpStream, log: &(dyn Fn(&str) + Sync)) -> io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        stream.set_write_timeout(Some(IDLE))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Request::read(&mut reader)? {
            let mut answer = self.answer(&request);
            let sent = answer.send(&mut stream, &request)?;
            // In the parts that `watch` reads, this line has the format "combined" of nginx and
            // Apache.
            let agent = request.header("user-agent").unwrap_or("-");
            log(&format!(
                "\"{} {} HTTP/1.1\" {} {sent} \"-\" \"{}\"",
                request.method,
                request.path.escape_debug(),
                answer.status.split(' ').next().unwrap_or_default(),
                agent.escape_debug()
            ));
            if request.closes {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Answer {
        if request.method != "GET" && request.method != "HEAD" {
            return Answer::empty("405 Method Not Allowed");
        }
        let Some((file, length, etag)) = self.open(&request.path) else {
            return Answer::empty("404 Not Found");
        };
        let of_file = |status, range: Option<(u64, u64)>| {
            let (from, len) = range.unwrap_or((0, length));
            Answer {
                status,
                file: Some(file),
                from,
                len,
                total: length,
                etag: Some(etag.clone()),
                is_json: request.path.ends_with(".json"),
            }
        };
        if request
            .header("if-none-match")
            .is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == etag))
        {
            return Answer { etag: Some(etag), ..Answer::empty("304 Not Modified") };
        }
        let is_meant = request.header("if-range").is_none_or(|tag| tag == etag);
        match request.header("range").filter(|_| is_meant).map(|range| find(range, length)) {
            None | Some(Asked::All) => of_file("200 OK", None),
            Some(Asked::Part(from, len)) => of_file("206 Partial Content", Some((from, len))),
            Some(Asked::Nothing) => {
                Answer { total: length, ..Answer::empty("416 Range Not Satisfiable") }
            }
        }
    }

    /// Opens a file of the repository. No name leads out of the folder, and hidden files are not
    /// shown.
    fn open(&self, path: &str) -> Option<(File, u64, String)> {
        let path = path.split('?').next()?.strip_prefix('/')?;
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"._+~-".contains(&c))
        };
        if !path.split('/').all(plain) {
            return None;
        }
        // A symbolic link must not lead out either.
        let path =
            self.dir.join(path).canonicalize().ok().filter(|path| path.starts_with(&self.dir))?;
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
        let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some((file, metadata.len(), format!("\"{:x}-{:x}\"", changed.as_nanos(), metadata.len())))
    }
}

#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    closes: bool,
}

impl Request {
    /// `None`: the client has closed the connection, or does not speak HTTP.
    fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut head = reader.take(HEAD);
        let mut line = String::new();
        let mut next = |line: &mut String| -> io::Result<bool> {
            line.clear();
            head.read_line(line)?;
            Ok(line.ends_with('\n'))
        };
        if !next(&mut line)? {
            return Ok(None);
        }
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [method, path, version] = words[..] else { return Ok(None) };
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            closes: version != "HTTP/1.1",
        };
        loop {
            if !next(&mut line)? {
                return Ok(None);
            }
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        // This server does not read a body, so it could not find the next request behind it.
        let has_body = request.header("content-length").is_some_and(|length| length != "0")
            || request.header("transfer-encoding").is_some();
        request.closes |= has_body
            || request.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }
}

/// The part of a file that a `Range` asks for.
#[derive(PartialEq, Eq, Debug)]
enum Asked {
    All,
    /// Start and length.
    Part(u64, u64),
    Nothing,
}

/// Returns one range. Several ranges, or an invalid range, get the whole file, as RFC 9110 allows.
fn find(range: &str, length: u64) -> Asked {
    let Some((from, to)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Asked::All;
    };
    match (from.trim().parse::<u64>(), to.trim().parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to && from < length => {
            Asked::Part(from, to.min(length - 1) - from + 1)
        }
        (Ok(from), Err(_)) if to.trim().is_empty() && from < length => {
            Asked::Part(from, length - from)
        }
        (Err(_), Ok(last)) if from.trim().is_empty() && last > 0 && length > 0 => {
            let len = last.min(length);
            Asked::Part(length - len, len)
        }
        (Ok(from), Ok(to)) if from <= to => Asked::Nothing,
        (Ok(_), Err(_)) if to.trim().is_empty() => Asked::Nothing,
        (Err(_), Ok(_)) if from.trim().is_empty() => Asked::Nothing,
        _ => Asked::All,
    }
}

#[derive(Debug)]
struct Answer {
    status: &'static str,
    file: Option<File>,
    from: u64,
    len: u64,
    total: u64,
    etag: Option<String>,
    is_json: bool,
}

impl Answer {
    fn empty(status: &'static str) -> Self {
        Self { status, file: None, from: 0, len: 0, total: 0, etag: None, is_json: false }
    }

    /// Sends the answer and returns the number of bytes of its body.
    fn send(&mut self, stream: &mut TcpStream, request: &Request) -> io::Result<u64> {
        let Self { status, from, len, total, .. } = *self;
        let mut head = format!("HTTP/1.1 {status}\r\n");
        if let Some(etag) = &self.etag {
            head += &format!("ETag: {etag}\r\n");
        }
        if !status.starts_with("304") {
            head += &format!("Content-Length: {len}\r\nAccept-Ranges: bytes\r\n");
        }
        if self.file.is_some() {
            let kind = if self.is_json { "application/json" } else { "application/octet-stream" };
            head += &format!("Content-Type: {kind}\r\n");
        }
        if status.starts_with("206") {
            head += &format!("Content-Range: bytes {from}-{}/{total}\r\n", from + len - 1);
        }
        if status.starts_with("416") {
            head += &format!("Content-Range: bytes */{total}\r\n");
        }
        if request.closes {
            head += "Connection: close\r\n";
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        let Some(file) = self.file.as_mut().filter(|_| request.method == "GET") else {
            return Ok(0);
        };
        file.seek(SeekFrom::Start(from))?;
        let sent = io::copy(&mut file.take(len), stream)?;
        if sent == len { Ok(sent) } else { Err(io::Error::other("the file became shorter")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        for (range, asked) in [
            ("bytes=0-0", Asked::Part(0, 1)),
            ("bytes=90-", Asked::Part(90, 10)),
            ("bytes=-10", Asked::Part(90, 10)),
            ("bytes=-1000", Asked::Part(0, 100)),
            ("bytes=50-1000", Asked::Part(50, 50)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=100-200", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::All),
            ("bytes=0-1,5-6", Asked::All),
            ("pages=1-2", Asked::All),
            ("bytes=a-b", Asked::All),
        ] {
            assert_eq!(find(range, 100), asked, "{range}");
        }
    }
}
