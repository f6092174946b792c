//! A link to a server of this machine, which can be slow, and which counts bytes.
//!
//! The tests set the speed. Only the bytes that go to the client count.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt};

/// Number of bytes that are passed on at once.
const PIECE: usize = 4096;

/// A link that lasts as long as the process.
#[derive(Clone, Debug)]
pub struct SlowLink {
    address: SocketAddr,
    brought: Arc<AtomicU64>,
}

impl SlowLink {
    /// Makes a link to `server` with a limit in bytes per second and connection, or without a
    /// limit.
    ///
    /// # Errors
    /// There is no free port.
    pub fn to(server: SocketAddr, bytes_per_s: Option<u64>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let this = Self { address: listener.local_addr()?, brought: Arc::default() };
        let counted = this.brought.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counted = counted.clone();
                // An error only means that the client or the server has gone.
                thread::spawn(move || drop(pass(&client, server, bytes_per_s, &counted)));
            }
        });
        Ok(this)
    }

    /// Returns the address that clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the bytes that went to clients, with the heads of answers.
    #[must_use]
    pub fn brought(&self) -> u64 {
        self.brought.load(Ordering::SeqCst)
    }
}

fn pass(
    mut client: &TcpStream,
    server: SocketAddr,
    rate: Option<u64>,
    brought: &AtomicU64,
) -> Result<()> {
    // Counted bytes have arrived at the client, except for at most this many.
    setsockopt(&client, sockopt::SndBuf, &(4 * PIECE))?;
    client.set_nodelay(true)?;
    let mut server = TcpStream::connect(server)?;
    let (mut asking, mut asked) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut asking, &mut asked);
        asked.shutdown(Shutdown::Write)
    });
    let mut piece = [0; PIECE];
    loop {
        let len = server.read(&mut piece)?;
        if len == 0 {
            return Ok(client.shutdown(Shutdown::Write)?);
        }
        if let Some(rate) = rate {
            thread::sleep(Duration::from_secs_f64(len as f64 / rate as f64));
        }
        client.write_all(&piece[..len])?;
        brought.fetch_add(len as u64, Ordering::SeqCst);
    }
}
