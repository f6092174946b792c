//! A bundle on a web server, as a [`Disk`] that can be read.
//!
//! `transfer` fetches the bytes, and `bundle` verifies them. A read blocks the caller's thread.
//! Between two reads only the kernel receives.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use image_layout::Disk;
use tokio::runtime::Runtime;

use crate::config::Pull;
use crate::device::Device;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::pull::client::http::Client;
use crate::pull::client::waiting::runtime;
use crate::pull::oci;
use crate::pull::ranges::spans::spans;
use crate::pull::ranges::transfer::Transfer;
use crate::pull::trouble::Trouble;

/// Bytes of a bundle's end in the first request, if nobody knows how long the tail is. A tail of
/// 1,750 chunks fits. The rest of a longer one is asked for.
const TAIL: u64 = 64 << 10;
/// Most requests that an install plans.
const MOST_SPANS: usize = 100;

/// The bytes and requests so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fetched {
    /// Bytes of bodies, those thrown away included.
    pub(crate) bytes: u64,
    /// Requests, redirects and repeated ones included.
    pub(crate) requests: u64,
}

/// A bundle on a web server. Clones are the same one.
///
/// Reading blocks, on the caller's thread. Between two reads only the kernel receives. So memory is
/// bounded, and a killed process loses little. The thread must not drive an asynchronous runtime.
#[derive(Clone, Debug)]
pub(crate) struct Remote<'i> {
    source: Arc<Mutex<Source<'i>>>,
    size: u64,
    tail: Arc<Vec<u8>>,
}

#[derive(Debug)]
struct Source<'i> {
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
    transfer: Transfer<'i>,
}

impl<'i> Remote<'i> {
    /// Opens the bundle at `url` with one request for its end. `tail` is its length in bytes, if
    /// the caller knows it.
    ///
    /// # Errors
    /// [`crate::Exit::Network`], [`crate::Exit::Server`], [`crate::Exit::Budget`],
    /// [`crate::Exit::Config`], [`crate::Exit::Usage`] for an address that is none, or what
    /// `interrupt` says.
    pub(crate) fn open(
        device: &Device,
        pull: &Pull,
        url: &str,
        tail: Option<u64>,
        interrupt: &'i Interrupt,
    ) -> Result<Self, Failure> {
        let mut transfer = Transfer::new(Client::new(device, pull, url, interrupt)?, pull);
        let runtime = runtime()?;
        // No tail is longer than the limit of the format.
        let wanted = tail.unwrap_or(TAIL).clamp(1, bundle::limits::TAIL);
        let opened = runtime.block_on(async {
            let said = oci::bundle(&mut transfer.client, pull).await?;
            let (size, tail) = transfer.open(wanted).await?;
            if said.is_some_and(|said| said != size) {
                return Err(Trouble::server(
                    "the registry's blob is not as long as its manifest says; push the file again",
                ));
            }
            Ok((size, tail))
        });
        let (size, tail) = match opened {
            Ok(opened) => opened,
            Err(trouble) => return Err(transfer.client.failure(trouble)),
        };
        let source = Source { runtime: Some(runtime), transfer };
        Ok(Self { source: Arc::new(Mutex::new(source)), size, tail: Arc::new(tail) })
    }

    /// Says in advance which bytes will be read, ascending.
    ///
    /// # Errors
    /// [`crate::Exit::Budget`] when that is more than the configuration allows.
    pub(crate) fn expect(&self, ranges: &[Range<u64>]) -> Result<(), Failure> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        // The tail has come already.
        let tail_at = self.tail_at();
        let ranges: Vec<_> =
            ranges.iter().map(|range| range.start..range.end.min(tail_at)).collect();
        let expected = spans(&ranges, MOST_SPANS);
        let transfer = &mut source.transfer;
        transfer.expect(expected).map_err(|trouble| transfer.client.failure(trouble))
    }

    /// Returns the number of bytes and of requests so far.
    pub(crate) fn fetched(&self) -> Fetched {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        Fetched { bytes: source.transfer.fetched, requests: source.transfer.client.requests }
    }

    /// Returns the address, for people.
    pub(crate) fn address(&self) -> String {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.transfer.client.address().to_owned()
    }

    fn tail_at(&self) -> u64 {
        self.size - self.tail.len() as u64
    }
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        // Does not wait for a name that is being looked up.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Disk for Remote<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let tail_at = self.tail_at();
        let remote =
            usize::try_from(tail_at.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (front, behind) = buf.split_at_mut(remote);
        if !behind.is_empty() {
            // At most the tail's length, which is a usize.
            let from = (offset + remote as u64 - tail_at) as usize;
            behind.copy_from_slice(&self.tail[from..from + behind.len()]);
        }
        if front.is_empty() {
            return Ok(());
        }
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let Source { runtime: Some(runtime), transfer } = &mut *source else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        runtime
            .block_on(transfer.fill(front, offset))
            .map_err(|trouble| io::Error::other(transfer.client.failure(trouble)))
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
