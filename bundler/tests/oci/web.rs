//! A web server on loopback that answers whatever a test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request that was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and path.
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
}

/// A server with one request for each connection. Its thread ends with the test program.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Web {
    /// Starts the server. `answer` writes the whole answer, and may fail if the client has gone.
    pub(crate) fn new(
        answer: impl Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let Some(Ok(line)) = lines.next() else { continue };
                let mut request = Request {
                    line: line.trim_end_matches(" HTTP/1.1").to_owned(),
                    authorization: None,
                };
                for header in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                    if let Some(value) = header.to_ascii_lowercase().strip_prefix("authorization:")
                    {
                        request.authorization =
                            Some(header[header.len() - value.len()..].trim().to_owned());
                    }
                }
                log.lock().unwrap().push(request.clone());
                let _ = answer(&request, &mut stream);
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// Returns a whole answer. `headers` is made of lines with their ends.
pub(crate) fn say(
    stream: &mut TcpStream,
    status: u16,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )?;
    stream.write_all(body)
}
